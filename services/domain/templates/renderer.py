"""Renders templates: presets here, sources in a sandbox."""

from collections.abc import Mapping, Sequence

import structlog
from prometheus_client import Counter

from services.domain.templates import child, presets
from services.domain.templates.child import Request
from services.domain.templates.event import Event
from services.domain.templates.sandbox import Sandbox, SandboxLost
from services.domain.templates.template import Rendered, Template, TemplateFailed
from services.platform.process.bounds import BoundedCache

log = structlog.get_logger(__name__)

RENDERED = Counter("webhook_templates_rendered_total", "Templates rendered, by result.", ["result"])
for _result in ("rendered", "failed", "stopped"):
    RENDERED.labels(_result)
# A preset renders larger payloads in the sandbox, too, so that reading them delays nothing else.
IN_PLACE_BYTES = 64 << 10
# A template that had to be stopped is not tried again for so long: others wait while it runs.
STOPPED_SECONDS = 60.0
STOPPED_KEPT = 1024
# The system stops a process by ticks of its clock, each counted whole, so a template that is unlucky with them is
# stopped before its time. What was measured exactly says so, and it is asked for again, so many times in all.
MISTAKEN_STOPS = 3
_ENDED = {
    child.TOO_LONG: f"it took more than {child.CPU_SECONDS * 1000:g} ms of processor time",
    child.TOO_LARGE: f"it took more than {child.MEMORY_BYTES >> 20} MiB of memory",
}


class Renderer:
    """One for a process. Nothing is started before the first source is rendered."""

    def __init__(self) -> None:
        self._sandbox = Sandbox()
        # By tenant: another one may have the same template for events that are small.
        self._stopped: BoundedCache[tuple[str, Template], str] = BoundedCache(STOPPED_KEPT, ttl_seconds=STOPPED_SECONDS)

    async def render(self, template: Template, event: Event, secrets: Mapping[str, str]) -> Rendered:
        """Return what is sent of an event; raise TemplateFailed, with no secret in its message."""
        try:
            made = await self._render(template, event, secrets)
        except TemplateFailed as failed:
            RENDERED.labels("failed").inc()
            message, near = (_without(secrets, text) for text in (failed.message, failed.near))
            raise TemplateFailed(message, failed.line, near) from None
        RENDERED.labels("rendered").inc()
        return made

    async def check(self, template: Template, tenant_id: str) -> Sequence[str]:
        """Compile a source; return the names of the secrets that it uses. Raise TemplateFailed."""
        reply = await self._asked(Request(template=template), tenant_id)
        return reply.secrets

    async def close(self) -> None:
        """End the sandbox."""
        await self._sandbox.close()

    async def _render(self, template: Template, event: Event, secrets: Mapping[str, str]) -> Rendered:
        if template.preset is not None and len(event.payload) <= IN_PLACE_BYTES:
            return presets.render(template.preset, event, secrets)
        why = self._stopped.get((event.tenant_id, template))
        if why is not None:
            raise TemplateFailed(f"{why}, and is tried again after {STOPPED_SECONDS:g} s")
        reply = await self._asked(Request(template=template, event=event, secrets=secrets), event.tenant_id)
        return Rendered(body=reply.body or b"", content_type=reply.content_type, headers=reply.headers)

    async def _asked(self, request: Request, tenant_id: str) -> child.Reply:
        try:
            for _ in range(MISTAKEN_STOPS):
                reply = await self._sandbox.ask(request, tenant_id)
                if reply.ended != child.TOO_LONG or reply.cpu_seconds >= child.CPU_SECONDS:
                    break
        except SandboxLost as lost:
            log.warning("the process that renders templates did not answer", error=str(lost))
            raise TemplateFailed("the process that renders templates did not answer") from None
        if reply.ended is not None:
            RENDERED.labels("stopped").inc()
            why = f"it was stopped: {_ENDED[reply.ended]}"
            if request.event is not None:
                self._stopped.put((request.event.tenant_id, request.template), why)
            raise TemplateFailed(why)
        if reply.error is not None:
            raise TemplateFailed(reply.error, reply.line, reply.near)
        return reply


def _without(secrets: Mapping[str, str], message: str) -> str:
    for value in secrets.values():
        message = message.replace(value, "***")
    return message
