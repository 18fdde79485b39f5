"""Templates of subscriptions as they are asked for: what is a valid one, and which secrets it needs."""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from protos.webhook.v1 import subscriptions_pb2 as pb
from services.domain import events, limits
from services.domain.templates import presets
from services.domain.templates import template as rules
from services.domain.templates.renderer import Renderer
from services.domain.templates.template import Template, TemplateFailed
from services.ingest.subscriptions import secrets
from services.platform import errors

FIELD, SECRETS = "template", "template_secrets"
_NAME = re.compile(limits.TEMPLATE_SECRET_NAME_PATTERN)
_NAME_EXPECTED = "must be 1 to 64 characters of a-z 0-9 _, and begin with a letter"


class Checked(NamedTuple):
    """What was found of the template of a request: the secrets that it uses, and what is wrong with it."""

    used: Collection[str] = ()
    refused: Sequence[errors.Violation] = ()


def of_message(message: pb.Template) -> Template:
    """Return what a request has."""
    return Template(
        preset=message.preset or None, source=message.source or None, content_type=message.content_type or None
    )


async def check(spec: pb.SubscriptionSpec, renderer: Renderer, tenant_id: str) -> Checked:
    """Return what is found of the template of a request. Its source is compiled in the sandbox."""
    if not spec.HasField("template"):
        return Checked()
    template = of_message(spec.template)
    wrong = violations(template)
    if wrong:
        return Checked(refused=wrong)
    if template.preset is not None:
        return Checked(used=presets.PRESETS[template.preset].secrets)
    try:
        return Checked(used=await renderer.check(template, tenant_id))
    except TemplateFailed as failed:
        return Checked(refused=[errors.Violation(field=f"{FIELD}.source", description=str(failed))])


def violations(template: Template) -> list[errors.Violation]:
    """Return what is wrong with a template before its source is read."""
    if template.preset is not None:
        if template.preset not in presets.PRESETS:
            return [_violation(f"{FIELD}.preset", f"must be one of {', '.join(presets.PRESETS)}")]
        given = [name for name in ("source", "content_type") if getattr(template, name) is not None]
        return [_violation(f"{FIELD}.{name}", "cannot be combined with preset") for name in given]
    if template.source is None:
        return [_violation(FIELD, "must have a preset, or a source and its content_type")]
    found = []
    if len(template.source.encode(errors="replace")) > rules.MAX_SOURCE_BYTES or "\x00" in template.source:
        found.append(_violation(f"{FIELD}.source", f"must have at most {rules.MAX_SOURCE_BYTES} bytes, and no NUL"))
    if template.content_type is None:
        found.append(_violation(f"{FIELD}.content_type", "is required with source, as in application/json"))
    elif not events.is_valid_text(template.content_type):
        found.append(_violation(f"{FIELD}.content_type", events.TEXT_EXPECTED))
    return found


def secret_violations(values: Mapping[str, str]) -> list[errors.Violation]:
    """Return what is wrong with secrets of a template. No value is repeated."""
    if len(values) > limits.MAX_TEMPLATE_SECRETS:
        return [_violation(SECRETS, f"must have at most {limits.MAX_TEMPLATE_SECRETS} entries")]
    found = []
    for name, value in values.items():
        if not _NAME.fullmatch(name):
            found.append(_violation(SECRETS, f"the name {name[:64]!r} {_NAME_EXPECTED}"))
        elif why := secrets.why_no_text(value):
            found.append(_violation(f"{SECRETS}.{name}", why))
    return found


def relay_violations(template: str | None, *, relay_headers: bool) -> list[errors.Violation]:
    """Return what is wrong with relaying a provider's headers beside a template."""
    if template is None or not relay_headers:
        return []
    return [_violation("relay_headers", "cannot be combined with template: the provider signed the payload")]


def check_secrets(template: str | None, used: Collection[str], names: Collection[str]) -> None:
    """Raise InvalidArgument when a template uses a secret that its subscription does not have.

    `used` is what was found of the template of this request. Of one that is stored, only a preset's needs are known.
    """
    if template is None:
        return
    preset = presets.PRESETS.get(Template.of_text(template).preset or "")
    needed = {*used, *(preset.secrets if preset else ())}
    missing = sorted(needed - set(names))
    if missing:
        raise errors.InvalidArgument.of(
            *(_violation(f"{SECRETS}.{name}", "is required: the template uses it") for name in missing)
        )


def _violation(field: str, description: str) -> errors.Violation:
    return errors.Violation(field=field, description=description)
