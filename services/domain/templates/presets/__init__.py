"""Presets: templates that the service brings, one module each. They are code, to keep to their provider's bounds.

A new one is a module with a `render`, and an entry in PRESETS.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from services.domain.templates.event import Event
from services.domain.templates.presets import cloudevents, discord, google_chat, pagerduty, slack, teams
from services.domain.templates.template import Rendered, TemplateFailed


class Preset(NamedTuple):
    """Makes the document of a provider of an event and of the subscription's template secrets."""

    render: Callable[[Event, Mapping[str, str]], Rendered]
    # The names of the secrets that it needs.
    secrets: tuple[str, ...] = ()


PRESETS: Mapping[str, Preset] = {
    "slack": Preset(slack.render),
    "teams": Preset(teams.render),
    "discord": Preset(discord.render),
    "pagerduty": Preset(pagerduty.render, secrets=("routing_key",)),
    "google-chat": Preset(google_chat.render),
    "cloudevents": Preset(cloudevents.render),
    "cloudevents-binary": Preset(cloudevents.render_binary),
}


def render(name: str, event: Event, secrets: Mapping[str, str]) -> Rendered:
    """Render a preset; TemplateFailed."""
    preset = PRESETS.get(name)
    if preset is None:  # of a later version
        raise TemplateFailed(f"the preset {name} is not known to this version of the service")
    missing = [secret for secret in preset.secrets if not secrets.get(secret)]
    if missing:
        raise TemplateFailed(f"the preset {name} requires template_secrets.{missing[0]}")
    return preset.render(event, secrets)
