"""What an operator's machines ask of every process: /metrics, /healthz and /readyz.

They tell of hosts, stores and traffic, so outside of development only the metrics port serves them. /livez is for what
can reach the API, such as a load balancer: it says whether the process works, and nothing else.

/readyz is 200 {"status": "ready"} or 503 {"status": "not ready", "failures": {name: why}}; "degraded": {name: why}
comes with either, and names what is away without which the process still answers. In a process of several roles the
names of their checks are ROLE.NAME.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Protocol

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
# Names of what is the same for all roles of a process.
STOPPING = "process"
BACKGROUND_TASKS = "background_tasks"
OF_PROCESS = (STOPPING, BACKGROUND_TASKS)


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
            return {STOPPING: "is stopping"}
        return await _failures(self._alive | self._ready | self._shared)

    async def state(self) -> tuple[dict[str, str], dict[str, str]]:
        """Return `ready` and `degraded`, from one look."""
        failures, shared, degraded = await asyncio.gather(
            _failures(self._alive | self._ready), _failures(self._shared), _failures(self._optional)
        )
        self._seen |= self._shared.keys() - shared.keys()
        for name, why in shared.items():
            (degraded if name in self._seen else failures)[name] = why
        return {STOPPING: "is stopping"} if self.stopping else failures, degraded


class Probed(Protocol):
    """Something with a state: a role, or a process."""

    async def alive(self) -> dict[str, str]:
        """Return the failing liveness checks with reasons; empty if all is well."""
        ...

    async def state(self) -> tuple[dict[str, str], dict[str, str]]:
        """Return what keeps it from answering, and what is away besides, with reasons."""
        ...


class Roles:
    """The health of a process: of all its roles."""

    def __init__(self) -> None:
        self._roles: dict[str, Health] = {}

    def add(self, role: str, health: Health) -> None:
        """Add a role."""
        self._roles[role] = health

    def stop(self) -> None:
        """Say that the process is stopping."""
        for health in self._roles.values():
            health.stopping = True

    async def alive(self) -> dict[str, str]:
        """Return the failing liveness checks with reasons. They are of the process: no role has its own."""
        found: dict[str, str] = {}
        for health in self._roles.values():
            found |= await health.alive()
        return found

    async def state(self) -> tuple[dict[str, str], dict[str, str]]:
        """Return what keeps roles from answering, and what is away besides, with reasons."""
        failures: dict[str, str] = {}
        degraded: dict[str, str] = {}
        states = await asyncio.gather(*(health.state() for health in self._roles.values()))
        for role, (own_failures, own_degraded) in zip(self._roles, states, strict=True):
            failures |= {self._name(role, name): why for name, why in own_failures.items()}
            degraded |= {self._name(role, name): why for name, why in own_degraded.items()}
        return failures, degraded

    def _name(self, role: str, name: str) -> str:
        return name if len(self._roles) == 1 or name in OF_PROCESS else f"{role}.{name}"


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


def routes(health: Probed) -> list[Route]:
    """Return the three routes of the metrics port."""

    async def metrics(_: Request) -> Response:
        return Response(prometheus_client.generate_latest(), media_type=prometheus_client.CONTENT_TYPE_LATEST)

    async def healthz(_: Request) -> Response:
        return _answer(ALIVE, await health.alive())

    async def readyz(_: Request) -> Response:
        return _answer(READY, *await health.state())

    return [Route("/metrics", metrics), Route("/healthz", healthz), Route("/readyz", readyz)]


def liveness_route(health: Probed) -> Route:
    """Return the route of /livez, which needs no key and gives no reason."""

    async def livez(_: Request) -> Response:
        failures = await health.alive()
        body = json.dumps({"status": "failing" if failures else "ok"})
        return Response(body, 503 if failures else 200, NO_STORE, "application/json")

    return Route("/livez", livez)


def application(health: Probed) -> Starlette:
    """Return the application of the metrics port."""
    return Starlette(routes=routes(health))
