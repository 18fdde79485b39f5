"""What an operator's machines ask of every process: /metrics, /healthz and /readyz.

They tell of hosts, stores and traffic, so outside of development only the metrics port serves them. /livez is for what
can reach the API, such as a load balancer: it says whether the process works, and nothing else.

/readyz is 200 {"status": "ready"} or 503 {"status": "not ready", "failures": {name: why}}; "degraded": {name: why}
comes with either, and names what is away without which the process still answers.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable

import prometheus_client
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

Check = Callable[[], Awaitable[None]]
CHECK_TIMEOUT_SECONDS = 1.0
# A cached response does not show the current state.
NO_STORE = {"cache-control": "no-store"}
# The status when nothing fails, and when something does.
ALIVE = ("ok", "failing")
READY = ("ready", "not ready")


class Health:
    """Named checks: a liveness check says that the process works, a readiness check that it can answer now."""

    def __init__(self) -> None:
        self._ready: dict[str, Check] = {}
        self._alive: dict[str, Check] = {}
        self._shared: dict[str, Check] = {}
        self._optional: dict[str, Check] = {}
        # Of the shared ones, those that have worked once.
        self._seen: set[str] = set()
        self.stopping = False

    def add_readiness(self, name: str, check: Check) -> None:
        """`check` raises when the process cannot serve."""
        self._ready[name] = check

    def add_shared(self, name: str, check: Check) -> None:
        """`check` raises while something is away that all copies of the process need.

        Until it has worked once, the process is not ready: it may be configured wrongly. From then on a failure is told
        of as degraded: no other copy would do better, and answers that say so are better than refused connections.
        """
        self._shared[name] = check

    def add_liveness(self, name: str, check: Check) -> None:
        """`check` raises when the process should be restarted."""
        self._alive[name] = check

    def add_optional(self, name: str, check: Check) -> None:
        """`check` raises when the process serves, but not everything; told of in /readyz without failing it."""
        self._optional[name] = check

    async def alive(self) -> dict[str, str]:
        """Return the failing liveness checks with reasons; empty if all is well."""
        return await _failures(self._alive)

    async def ready(self) -> dict[str, str]:
        """Return what keeps the process from answering, with why; empty when it can."""
        return (await self.state())[0]

    async def degraded(self) -> dict[str, str]:
        """Return what is unreachable but not required to serve, with reasons."""
        return (await self.state())[1]

    async def serving(self) -> dict[str, str]:
        """Return what keeps the process from doing what it is asked, with why; shared things count."""
        if self.stopping:
            return {"process": "is stopping"}
        return await _failures(self._alive | self._ready | self._shared)

    async def state(self) -> tuple[dict[str, str], dict[str, str]]:
        """Return `ready` and `degraded`, from one look."""
        failures, shared, degraded = await asyncio.gather(
            _failures(self._alive | self._ready), _failures(self._shared), _failures(self._optional)
        )
        self._seen |= self._shared.keys() - shared.keys()
        for name, why in shared.items():
            (degraded if name in self._seen else failures)[name] = why
        return {"process": "is stopping"} if self.stopping else failures, degraded


async def _failures(checks: dict[str, Check]) -> dict[str, str]:
    async def run(check: Check) -> str | None:
        try:
            async with asyncio.timeout(CHECK_TIMEOUT_SECONDS):
                await check()
        except TimeoutError as error:
            return f"TimeoutError: {error}"[:200] if str(error) else f"no answer within {CHECK_TIMEOUT_SECONDS:g} s"
        except Exception as error:  # noqa: BLE001 - whatever it is, the check failed
            return f"{type(error).__name__}: {error}"[:200]
        return None

    results = await asyncio.gather(*(run(check) for check in checks.values()))
    return {name: why for name, why in zip(checks, results, strict=True) if why is not None}


def _answer(states: tuple[str, str], failures: dict[str, str], degraded: dict[str, str] | None = None) -> Response:
    found = {"failures": failures, "degraded": degraded}
    body = {"status": states[bool(failures)]} | {name: checks for name, checks in found.items() if checks}
    return Response(json.dumps(body), 503 if failures else 200, NO_STORE, "application/json")


def routes(health: Health) -> list[Route]:
    """Return the three routes of the metrics port."""

    async def metrics(_: Request) -> Response:
        return Response(prometheus_client.generate_latest(), media_type=prometheus_client.CONTENT_TYPE_LATEST)

    async def healthz(_: Request) -> Response:
        return _answer(ALIVE, await health.alive())

    async def readyz(_: Request) -> Response:
        return _answer(READY, *await health.state())

    return [Route("/metrics", metrics), Route("/healthz", healthz), Route("/readyz", readyz)]


def liveness_route(health: Health) -> Route:
    """Return the route of /livez, which needs no key and gives no reason."""

    async def livez(_: Request) -> Response:
        failures = await health.alive()
        body = json.dumps({"status": "failing" if failures else "ok"})
        return Response(body, 503 if failures else 200, NO_STORE, "application/json")

    return Route("/livez", livez)


def application(health: Health) -> Starlette:
    """Return the application of the metrics port."""
    return Starlette(routes=routes(health))
