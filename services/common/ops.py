"""What an operator's machines ask of every process: /metrics, /healthz and /readyz, which are for them alone.

They tell of hosts, stores and traffic, so outside of development the metrics port alone serves them. /livez is for
whoever can reach the API, such as a load balancer: it says whether the process works, and nothing else.
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
# What a cache has kept is no answer to how a process is now.
NO_STORE = {"cache-control": "no-store"}


class Health:
    """Named checks: a liveness check says that the process works, a readiness check that it can serve now."""

    def __init__(self) -> None:
        self._ready: dict[str, Check] = {}
        self._alive: dict[str, Check] = {}
        self._optional: dict[str, Check] = {}
        self.stopping = False

    def add_readiness(self, name: str, check: Check) -> None:
        """`check` raises when the process cannot serve."""
        self._ready[name] = check

    def add_liveness(self, name: str, check: Check) -> None:
        """`check` raises when the process should be restarted."""
        self._alive[name] = check

    def add_optional(self, name: str, check: Check) -> None:
        """`check` raises when the process serves, but not everything; told of in /readyz without failing it."""
        self._optional[name] = check

    async def alive(self) -> dict[str, str]:
        """The failing liveness checks, with why; empty when all is well."""
        return await _failures(self._alive)

    async def ready(self) -> dict[str, str]:
        """The failing checks of both kinds, with why; empty when the process can serve."""
        if self.stopping:
            return {"process": "is stopping"}
        return await _failures(self._alive | self._ready)

    async def degraded(self) -> dict[str, str]:
        """The failing optional checks, with why."""
        return await _failures(self._optional)


async def _failures(checks: dict[str, Check]) -> dict[str, str]:
    async def run(check: Check) -> str | None:
        try:
            async with asyncio.timeout(CHECK_TIMEOUT_SECONDS):
                await check()
        except Exception as error:  # noqa: BLE001 - whatever it is, the check failed
            return f"{type(error).__name__}: {error}"[:200]
        return None

    results = await asyncio.gather(*(run(check) for check in checks.values()))
    return {name: why for name, why in zip(checks, results, strict=True) if why is not None}


def _answer(failures: dict[str, str], degraded: dict[str, str] | None = None) -> Response:
    found = {"failures": failures, "degraded": degraded}
    body = {"status": "failing" if failures else "ok"} | {name: checks for name, checks in found.items() if checks}
    return Response(json.dumps(body), 503 if failures else 200, NO_STORE, "application/json")


def routes(health: Health) -> list[Route]:
    """Return the three routes of the metrics port."""

    async def metrics(_: Request) -> Response:
        return Response(prometheus_client.generate_latest(), media_type=prometheus_client.CONTENT_TYPE_LATEST)

    async def healthz(_: Request) -> Response:
        return _answer(await health.alive())

    async def readyz(_: Request) -> Response:
        failures, degraded = await asyncio.gather(health.ready(), health.degraded())
        return _answer(failures, degraded)

    return [Route("/metrics", metrics), Route("/healthz", healthz), Route("/readyz", readyz)]


def liveness_route(health: Health) -> Route:
    """Return the route of /livez, which needs no key and gives no reason."""

    async def livez(_: Request) -> Response:
        failures = await health.alive()
        body = json.dumps({"status": "failing" if failures else "ok"})
        return Response(body, 503 if failures else 200, NO_STORE, "application/json")

    return Route("/livez", livez)


def application(health: Health) -> Starlette:
    """The application of the metrics port."""
    return Starlette(routes=routes(health))
