"""PagerDuty: an alert event for the Events API v2 (developer.pagerduty.com, "Send an Alert Event")."""

from collections.abc import Mapping
from typing import Any

from services.domain.templates.event import Event
from services.domain.templates.presets import message
from services.domain.templates.template import Rendered

SUMMARY_CHARACTERS, KEY_CHARACTERS = 1024, 255
# An event has at most 512 KB; larger data is cut and sent as text.
DETAIL_BYTES, _CUT_BYTES = 200_000, 50_000
SEVERITIES = ("critical", "error", "warning", "info")
# The service's own events: an alert of an endpoint is resolved when it works again.
_ENDPOINT: Mapping[str, tuple[str, str]] = {
    "subscription.failing": ("trigger", "error"),
    "subscription.disabled": ("trigger", "critical"),
    "subscription.recovered": ("resolve", "info"),
}


def render(event: Event, secrets: Mapping[str, str]) -> Rendered:
    """Return an alert, which one with the same dedup_key updates. `severity` is that of the data, if it has one."""
    said = message.of(event)
    data = event.data
    action, severity, key = "trigger", _severity(data), event.id
    if said.sentence:
        subscription = str(data["data"]["subscription_id"])
        action, severity = _ENDPOINT.get(event.type, ("trigger", "error"))
        key = f"{'endpoint' if event.type in _ENDPOINT else event.type}:{subscription}"
    payload = {
        "summary": message.cut_units(message.line(said.sentence or said.title), SUMMARY_CHARACTERS),
        "source": f"webhooks/{event.tenant_id or 'default'}",
        "severity": severity,
        "timestamp": event.time,
        "class": event.type or message.UNTYPED,
        "custom_details": _details(event, data),
    }
    return message.rendered(
        {
            "routing_key": secrets["routing_key"],
            "event_action": action,
            "dedup_key": message.cut_units(key, KEY_CHARACTERS),
            "payload": payload,
        }
    )


def _severity(data: Any) -> str:
    given = data.get("severity") if isinstance(data, dict) else None
    return given if isinstance(given, str) and given in SEVERITIES else "info"


def _details(event: Event, data: Any) -> dict[str, Any]:
    if len(event.payload) <= DETAIL_BYTES and isinstance(data, dict):
        return {"event_id": event.id, "data": data}
    text = message.printable(data if isinstance(data, str) else event.payload.decode(errors="replace"))
    return {"event_id": event.id, "data": message.cut_bytes(text, _CUT_BYTES)}
