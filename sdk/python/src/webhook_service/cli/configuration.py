"""Subscriptions as a file: apply, diff, and export.

    subscriptions:
      - name: warehouse-orders
        target_url: https://example.com/hooks/orders
        event_types: ["order.*"]
        secret_key: {env: WAREHOUSE_SECRET}      # or {file: secrets/warehouse}
        headers:
          Authorization: {env: WAREHOUSE_TOKEN}
        template:                                # or {preset: slack}
          source: {file: templates/warehouse.json}
          content_type: application/json
        template_secrets:
          room: {env: WAREHOUSE_ROOM}

A subscription is found by its name. A field that its entry leaves out has its default. Secrets and values of headers
cannot be read back: they are sent when a subscription is created, when names of headers or of template secrets change,
and with --secrets.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml  # type: ignore[import-untyped]
from rich.text import Text

from webhook_service.cli import session
from webhook_service.cli.output import Output
from webhook_service.cli.session import Session
from webhook_service.models import Subscription

# Fields of an entry and their defaults, without secrets.
_DEFAULTS: dict[str, Any] = {
    "target_url": None,
    "event_types": [],
    "filter": None,
    "filter_on_error": "deliver",
    "description": "",
    "metadata": {},
    "tag_paths": {},
    "event_versions": {},
    "keep_when_disabled": True,
    "rate_limit_per_second": None,
    "rate_limit_burst": None,
    "timeout_seconds": None,
    "expires_after_idle_seconds": None,
    "retry_policy": None,
    "template": None,
    "verify": "auto",
    "relay_headers": False,
}
# What is chosen at creation, and its default.
_FIXED = {"kind": "normal", "destination": "http"}
_SECRETS = ("secret_key", "verification_secrets", "client_certificate", "template_secrets")
_POLICY = ("base_seconds", "factor", "cap_seconds", "limit", "delays_seconds", "name")

File = Annotated[Path, typer.Option("--file", "-f", help="YAML file with subscriptions.", show_default=False)]
Prune = Annotated[bool, typer.Option("--prune", help="Delete subscriptions with names that are not in the file.")]
Secrets = Annotated[bool, typer.Option("--secrets", help="Also send secrets and headers that are stored already.")]


class _Indented(yaml.SafeDumper):  # type: ignore[misc]
    """Indents lists, as people do who add an entry by hand."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002, FBT001 - as PyYAML calls it
        """Indent by a level more."""
        super().increase_indent(flow, False)  # noqa: FBT003 - by position, as PyYAML names it


@dataclass(frozen=True, kw_only=True)
class Change:
    """What is to be done with a subscription."""

    name: str
    verb: str
    # By field: what is sent, and what people see of before and after.
    sent: Mapping[str, Any]
    shown: Mapping[str, tuple[Any, Any]]
    current: Subscription | None = None


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(apply)
    app.command()(diff)
    app.command()(export)


def apply(context: typer.Context, file: File, prune: Prune = False, secrets: Secrets = False) -> None:
    """Make the subscriptions those of a file. A second time it changes nothing."""
    asked = session.of(context)
    changes = _changes(asked, file, prune=prune, secrets=secrets)
    for change in changes:
        _apply(asked, change)
        _print(asked.output, change)
    if not changes:
        asked.output.say("nothing to change")


def diff(context: typer.Context, file: File, prune: Prune = False, secrets: Secrets = False) -> None:
    """Show what `apply` would change; the exit code is 1 if anything."""
    asked = session.of(context)
    changes = _changes(asked, file, prune=prune, secrets=secrets)
    for change in changes:
        _print(asked.output, change)
    if changes:
        raise typer.Exit(1)
    asked.output.say("nothing to change")


def export(context: typer.Context, file: File = Path("-")) -> None:
    """Write the subscriptions that have a name to a file, or to standard output. Secrets are names of variables."""
    asked = session.of(context)
    named = [one for one in asked.client.subscriptions.list() if one.name]
    entries = [_entry(one) for one in sorted(named, key=lambda one: one.name or "")]
    text = yaml.dump({"subscriptions": entries}, Dumper=_Indented, sort_keys=False, allow_unicode=True)
    if str(file) == "-":
        typer.echo(text, nl=False)
    else:
        file.write_text(text)
        asked.output.say(f"wrote {len(entries)} subscription{'' if len(entries) == 1 else 's'} to {file}")


def _changes(asked: Session, file: Path, *, prune: bool, secrets: bool) -> list[Change]:
    wanted = _read(file)
    current = {one.name: one for one in asked.client.subscriptions.list() if one.name}
    found = []
    for name, entry in wanted.items():
        change = _change(name, entry, current.get(name), secrets=secrets)
        if change is not None:
            found.append(change)
    if prune:
        left = [one for name, one in current.items() if name not in wanted]
        found += [Change(name=str(one.name), verb="delete", sent={}, shown={}, current=one) for one in left]
    return found


def _read(file: Path) -> dict[str, dict[str, Any]]:
    """Return the entries of a file by name; ValueError names what is wrong."""
    try:
        with file.open() as stream:
            document = yaml.safe_load(stream)
    except (OSError, yaml.YAMLError) as error:
        raise ValueError(f"{file}: {error}") from None
    entries = document.get("subscriptions") if isinstance(document, dict) else None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ValueError(f"{file}: must have a list of subscriptions")
    found: dict[str, dict[str, Any]] = {}
    known = {*_DEFAULTS, *_FIXED, *_SECRETS, "headers", "name", "signature_scheme"}
    for entry in entries:
        name = entry.get("name")
        if not isinstance(name, str) or not name:
            raise ValueError(f"{file}: each subscription needs a name")
        if name in found:
            raise ValueError(f"{file}: {name} appears more than once")
        if unknown := sorted({*entry} - known):
            raise ValueError(f"{file}: {name}.{unknown[0]} is not a known field")
        found[name] = _with_source(entry)
    return found


def _with_source(entry: dict[str, Any]) -> dict[str, Any]:
    """Return an entry with the source of its template, which may be in a file."""
    template = entry.get("template")
    if not isinstance(template, dict) or not isinstance(template.get("source"), dict):
        return entry
    where = template["source"]
    if set(where) != {"file"}:
        raise ValueError(
            f"{entry['name']}.template.source: must be a text, or the name of a file as in {{file: orders.json}}"
        )
    try:
        source = Path(str(where["file"])).read_text()
    except OSError as error:
        raise ValueError(f"{entry['name']}.template.source: {error}") from None
    return entry | {"template": template | {"source": source}}


def _change(name: str, entry: Mapping[str, Any], current: Subscription | None, *, secrets: bool) -> Change | None:
    plain = {field: value for field, value in entry.items() if field not in _SECRETS and field != "headers"}
    if current is None:
        sent = plain | _resolved(entry)
        shown: dict[str, tuple[Any, Any]] = {field: (None, value) for field, value in plain.items() if field != "name"}
        hidden = {field: (None, Text("***")) for field in _resolved_names(entry)}
        return Change(name=name, verb="create", sent=sent, shown=shown | hidden)
    for field, default in _FIXED.items():
        if entry.get(field, default) != getattr(current, field):
            raise ValueError(
                f"{name}.{field} cannot be changed from {getattr(current, field)}: give the entry another name, or"
                " delete the subscription first"
            )
    before = _comparable(current)
    after = _DEFAULTS | {field: value for field, value in plain.items() if field in _DEFAULTS}
    differing = [field for field in _DEFAULTS if not _same(field, before[field], after[field])]
    sent = {field: _patched(field, before[field], after[field]) for field in differing}
    shown = {field: (before[field], after[field]) for field in differing}
    headers = {header.lower() for header in entry.get("headers") or {}}
    renamed = headers != {header.lower() for header in current.header_names}
    rekeyed = {*(entry.get("template_secrets") or {})} != {*current.template_secret_names}
    if secrets or renamed or rekeyed:
        given = _resolved(entry)
        chosen = {field: value for field, value in given.items() if secrets}
        if rekeyed:
            chosen["template_secrets"] = given.get("template_secrets")
        if renamed:
            removed = {header: None for header in current.header_names if header.lower() not in headers}
            chosen["headers"] = {**removed, **given.get("headers", {})}
        sent |= chosen
        shown |= {field: (Text("***"), Text("***")) for field in chosen}
    return Change(name=name, verb="update", sent=sent, shown=shown, current=current) if sent else None


def _comparable(current: Subscription) -> dict[str, Any]:
    """Return the fields of a subscription as an entry has them."""
    found = current.to_dict()
    policy = found["retry_policy"]
    if policy is not None:
        found["retry_policy"] = {field: value for field, value in policy.items() if value is not None}
    template = found["template"]
    if template is not None:
        found["template"] = {field: value for field, value in template.items() if value is not None}
    return {field: found[field] for field in _DEFAULTS}


def _same(field: str, before: Any, after: Any) -> bool:
    if field == "retry_policy" and isinstance(before, dict) and isinstance(after, dict):
        # The service fills in what the entry leaves out.
        return all(before.get(name) == value for name, value in after.items())
    return bool(before == after)


def _patched(field: str, before: Any, after: Any) -> Any:
    """Return the merge patch from one value to the other: a field that it leaves out stays."""
    if field == "retry_policy" and isinstance(after, dict):
        return {name: after.get(name) for name in _POLICY}
    if field != "template" and isinstance(before, dict) and isinstance(after, dict):
        return dict.fromkeys(before) | after
    return after


def _resolved_names(entry: Mapping[str, Any]) -> list[str]:
    return [field for field in (*_SECRETS, "headers") if entry.get(field) is not None]


def _resolved(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return the secrets of an entry, read from where it says."""
    return {field: _secret(f"{entry.get('name')}.{field}", entry[field]) for field in _resolved_names(entry)}


def _secret(where: str, value: Any) -> Any:
    if isinstance(value, list):
        return [_secret(where, item) for item in value]
    if not isinstance(value, dict):
        return value
    if set(value) == {"env"}:
        found = os.environ.get(str(value["env"]))
        if not found:
            raise ValueError(f"{where}: the variable {value['env']} is not set")
        return found
    if set(value) == {"file"}:
        try:
            return Path(str(value["file"])).read_text().strip()
        except OSError as error:
            raise ValueError(f"{where}: {error}") from None
    return {name: _secret(f"{where}.{name}", item) for name, item in value.items()}


def _apply(asked: Session, change: Change) -> None:
    subscriptions = asked.client.subscriptions
    if change.current is None:
        created = subscriptions.create(**change.sent)
        if created.secret_key:
            asked.output.say(f"{change.name}: the secret that was generated is {created.secret_key}")
    elif change.verb == "delete":
        subscriptions.delete(change.current.id)
    else:
        subscriptions.update(change.current.id, **change.sent)


def _print(output: Output, change: Change) -> None:
    if output.is_json:
        output.json({"name": change.name, "change": change.verb, "fields": sorted(change.shown)})
        return
    output.line((f"{change.verb} {change.name}", {"create": "green", "delete": "red"}.get(change.verb, "yellow")))
    for field, (before, after) in change.shown.items():
        if before is None:
            output.line(f"  {field}: {_said(after)}")
        else:
            output.line(f"  {field}: {_said(before)} -> {_said(after)}")


def _said(value: Any) -> str:
    """Return a value as a file may have it."""
    return str(value) if isinstance(value, str | Text) else json.dumps(value, ensure_ascii=False, default=str)


def _entry(subscription: Subscription) -> dict[str, Any]:
    """Return a subscription as an entry: the fields that differ from their defaults."""
    found = _comparable(subscription)
    entry: dict[str, Any] = {"name": subscription.name}
    entry |= {field: value for field, value in found.items() if value != _DEFAULTS[field]}
    entry |= {
        field: str(getattr(subscription, field))
        for field, default in _FIXED.items()
        if getattr(subscription, field) != default
    }
    variable = "".join(letter if letter.isalnum() else "_" for letter in str(subscription.name)).upper()
    if subscription.signature_scheme != "hmac-sha256":
        entry["signature_scheme"] = str(subscription.signature_scheme)
    if subscription.has_secret:
        entry["secret_key"] = {"env": f"{variable}_SECRET"}
    if subscription.has_verification_secret:
        entry["verification_secrets"] = [{"env": f"{variable}_VERIFICATION_SECRET"}]
    if subscription.template_secret_names:
        entry["template_secrets"] = {
            secret: {"env": f"{variable}_{secret.upper()}"} for secret in subscription.template_secret_names
        }
    if subscription.header_names:
        entry["headers"] = {
            header: {"env": f"{variable}_{header.upper().replace('-', '_')}"} for header in subscription.header_names
        }
    return entry
