"""Sends requests over connections that are kept while they may be, each to an address that was vetted."""

import asyncio
import contextlib
import functools
import ssl
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from services.delivery.destinations.destination import Answer, SendError
from services.delivery.destinations.details import Header, Phase, Trail
from services.delivery.destinations.http import dialing
from services.delivery.destinations.http.connection import Connection
from services.delivery.destinations.http.dialing import Proxy
from services.delivery.destinations.http.request import OutgoingRequest
from services.delivery.destinations.http.resolver import Resolver
from services.delivery.destinations.http.tls import ClientIdentity, tls_reason, trust
from services.domain.egress import targets
from services.domain.egress.policy import EgressDenied, Policy
from services.domain.egress.targets import TargetUrl
from services.domain.states import AttemptOutcome

# Idle connections are closed after this, because common receivers close theirs after 5 s (Node.js), or 1 s before the
# receiver says that it will (Keep-Alive: timeout).
KEEPALIVE_SECONDS = 4.0
KEEPALIVE_MARGIN_SECONDS = 1.0
MAX_KEEPALIVE_SECONDS = 60.0
SWEEP_SECONDS = 1.0
# Of a name, in the details of an attempt that was not made.
MAX_ADDRESSES = 8
_REQUEST_TIMEOUT = 408
POST = "POST"
_Key: TypeAlias = tuple[bool, str, int, ClientIdentity | None]
# A connection and its address.
_Opened: TypeAlias = tuple[Connection, str]


@dataclass(slots=True)
class _Host:
    """What is known of one (tls, host, port, identity). Connections are never shared with another."""

    keepalive_seconds: float = KEEPALIVE_SECONDS
    # Idle connections with the time they became so and the address that they lead to, the latest last.
    idle: deque[tuple[Connection, float, str]] = field(default_factory=deque)


class HttpSender:
    """Sends over HTTP/1.1, with or without TLS. There are at most as many busy connections as requests in flight."""

    def __init__(
        self,
        policy: Policy,
        tls: ssl.SSLContext,
        *,
        max_response_bytes: int,
        wanted_bytes: int,
        proxy: Proxy | None = None,
    ) -> None:
        self._policy = policy
        self._resolver = Resolver(policy)
        self._tls = tls
        self._proxy = proxy
        self._max_response_bytes = max_response_bytes
        self._wanted_bytes = wanted_bytes
        self._hosts: defaultdict[_Key, _Host] = defaultdict(_Host)

    async def send(
        self, request: OutgoingRequest, *, timeout_seconds: float, fresh: bool = False, trail: Trail | None = None
    ) -> Answer:
        """Send within a deadline over connect, headers and body; `fresh` forbids a reused connection. Raises SendError.

        Redirects are not followed. The body is read up to a bound and cut there. What happens is noted in `trail`.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_seconds
        late = f"no complete response within {timeout_seconds:g} s"
        target, begin = _target(request.url)
        head = _head(begin, request)
        # At each attempt, whether a connection is there or not: where it leads must still be where its name does.
        addresses = self._resolver.known(target.host, target.port)
        if addresses is None:
            addresses = await self._resolve(target, deadline, late, trail)
        if trail is not None and self._proxy is None:
            trail.is_public = functools.partial(self._policy.is_public, target.host, target.port, addresses)
        identity = request.identity
        kept = None if fresh else self._take_idle(target, identity, addresses)
        connection, address = kept or await self._connect(target, identity, addresses, deadline, late, trail)
        timer = loop.call_at(deadline, connection.expire, late)
        if trail is not None:
            trail.address, trail.reused = address, kept is not None
            trail.sent, trail.unshown = functools.partial(_sent, target, request), request.own
        try:
            answer = await connection.exchange(head, request.body, trail)
            if kept and answer.status_code == _REQUEST_TIMEOUT and not connection.usable:
                # What servers say on a connection that was idle for long: they closed it before this request.
                message = "the receiver closed the idle connection with 408 before the request"
                raise SendError(AttemptOutcome.CONNECTION_LOST, message, status_code=_REQUEST_TIMEOUT, reused=True)
            if connection.usable and not fresh:
                self._keep(target, identity, connection, address)
            else:
                connection.close()
        except SendError as error:
            # The receiver may leave its end open: a 408 after an idle time is such a response.
            connection.close()
            reused = kept is not None and error.kind is AttemptOutcome.CONNECTION_LOST
            error.reused = error.reused or (reused and not connection.received)
            raise
        except BaseException:
            connection.close()
            raise
        finally:
            timer.cancel()
        return answer

    def _host(self, target: TargetUrl, identity: ClientIdentity | None) -> _Host:
        """Return what is known of a host. Call it again after each await: the sweep forgets idle hosts."""
        return self._hosts[target.tls, target.host, target.port, identity]

    def _keep(self, target: TargetUrl, identity: ClientIdentity | None, connection: Connection, address: str) -> None:
        """Keep an idle connection for as long as the receiver says that it keeps its end."""
        host = self._host(target, identity)
        if connection.announced_idle_seconds is not None:
            announced = connection.announced_idle_seconds - KEEPALIVE_MARGIN_SECONDS
            host.keepalive_seconds = min(max(0.0, announced), MAX_KEEPALIVE_SECONDS)
        host.idle.append((connection, asyncio.get_running_loop().time(), address))

    async def sweep(self) -> None:
        """Close connections that were idle for too long, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            for key, host in tuple(self._hosts.items()):
                while host.idle and not _is_fresh(host, *host.idle[0][:2], loop.time()):
                    host.idle.popleft()[0].close()
                if not host.idle:
                    del self._hosts[key]

    async def close(self) -> None:
        """Close idle connections, and end what is looked up."""
        for host in self._hosts.values():
            for connection, *_ in host.idle:
                connection.close()
        self._hosts.clear()
        await self._resolver.close()

    def _take_idle(self, target: TargetUrl, identity: ClientIdentity | None, addresses: list[str]) -> _Opened | None:
        """Return the most recently used connection to one of the addresses; close those to others."""
        host, now = self._host(target, identity), asyncio.get_running_loop().time()
        while host.idle:
            connection, since, address = host.idle.pop()
            if address in addresses and _is_fresh(host, connection, since, now):
                return connection, address
            connection.close()
        return None

    async def _resolve(self, target: TargetUrl, deadline: float, late: str, trail: Trail | None) -> list[str]:
        if trail is not None:
            trail.begin(Phase.DNS)
        try:
            async with asyncio.timeout_at(deadline):
                return await self._resolver.resolve(target.host, target.port)
        except TimeoutError:
            raise SendError(AttemptOutcome.TIMEOUT, late) from None
        except EgressDenied as error:
            if trail is not None:
                trail.address = ", ".join(error.addresses[:MAX_ADDRESSES])
            raise SendError(AttemptOutcome.EGRESS_DENIED, str(error)) from None

    async def _connect(
        self,
        target: TargetUrl,
        identity: ClientIdentity | None,
        addresses: list[str],
        deadline: float,
        late: str,
        trail: Trail | None,
    ) -> _Opened:
        if trail is not None:
            trail.begin(Phase.CONNECT)
        openings = [functools.partial(self._open, target, identity, address, trail) for address in addresses]
        try:
            async with asyncio.timeout_at(deadline):
                return await dialing.first(openings, _close)
        except TimeoutError:
            raise SendError(AttemptOutcome.TIMEOUT, late) from None
        except ssl.SSLError as error:
            raise SendError(AttemptOutcome.TLS, f"TLS failed: {tls_reason(error)}") from None
        except OSError as error:
            raise SendError(AttemptOutcome.CONNECT, f"{target.host}:{target.port}: {error}") from None

    async def _open(
        self, target: TargetUrl, identity: ClientIdentity | None, address: str, trail: Trail | None
    ) -> _Opened:
        """Connect to exactly this address, directly or through the proxy."""
        connection = Connection(self._max_response_bytes, self._wanted_bytes)
        tls = (identity.tls if identity else self._tls) if target.tls else None
        name = target.host.removesuffix(".") if target.tls else None
        connect = dialing.connect if self._proxy is None else self._proxy.connect
        await connect(connection, address, target.port, tls, name, trail)
        return connection, address


def _close(opened: _Opened) -> None:
    opened[0].close()


def _is_fresh(host: _Host, connection: Connection, since: float, now: float) -> bool:
    return connection.usable and now - since < host.keepalive_seconds


def _sent(target: TargetUrl, request: OutgoingRequest) -> Iterator[Header]:
    """Yield the headers of a request as they are sent."""
    yield "Host", target.authority
    yield from request.headers.items()
    yield "Content-Length", str(len(request.body))


@functools.lru_cache(maxsize=4096)
def _target(url: str) -> tuple[TargetUrl, bytes]:
    """Return a URL's parts, and the beginning of a request to it."""
    try:
        target = targets.parse(url)
    except ValueError as error:
        raise SendError(AttemptOutcome.INVALID_REQUEST, f"the target {error}") from None
    return target, f"{POST} {target.path} HTTP/1.1\r\nHost: {target.authority}\r\n".encode("ascii")


def _head(begin: bytes, request: OutgoingRequest) -> bytes:
    if request.method != POST:
        begin = begin.replace(POST.encode(), request.method.encode(), 1)
    lines = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    if lines.count("\n") != len(request.headers) or lines.count("\r") != len(request.headers) or "\0" in lines:
        raise SendError(AttemptOutcome.INVALID_REQUEST, "a header contains a line break or NUL")
    return b"%b%bContent-Length: %d\r\n\r\n" % (begin, lines.encode("latin-1"), len(request.body))


@contextlib.asynccontextmanager
async def sender(
    policy: Policy,
    *,
    max_response_bytes: int,
    wanted_bytes: int,
    tls: ssl.SSLContext | None = None,
    proxy: Proxy | None = None,
) -> AsyncIterator[HttpSender]:
    """Open a sender; its connections are closed with the context."""
    created = HttpSender(
        policy, tls or trust(), max_response_bytes=max_response_bytes, wanted_bytes=wanted_bytes, proxy=proxy
    )
    sweeper = asyncio.create_task(created.sweep(), name="idle_connections")
    try:
        yield created
    finally:
        sweeper.cancel()
        await asyncio.gather(sweeper, return_exceptions=True)
        await created.close()
