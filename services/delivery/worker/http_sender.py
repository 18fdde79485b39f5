"""The sender: connections to receivers that are kept while they may be, each to an address that was vetted."""

import asyncio
import contextlib
import functools
import ssl
from collections import defaultdict, deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import yarl

from services.delivery.worker.egress import EgressDenied, Policy
from services.delivery.worker.http_connection import Connection
from services.delivery.worker.request import OutgoingRequest
from services.delivery.worker.resolver import Resolver
from services.delivery.worker.sender import Answer, Failure, SendError

# Idle connections are dropped after this, for common receivers drop theirs after 5 s (Node.js), or 1 s before
# the receiver says that it will (Keep-Alive: timeout).
KEEPALIVE_SECONDS = 4.0
KEEPALIVE_MARGIN_SECONDS = 1.0
MAX_KEEPALIVE_SECONDS = 60.0
SWEEP_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Target:
    """Where a URL leads, and the beginning of a request to it."""

    tls: bool
    host: str
    port: int
    head: bytes


@dataclass(slots=True)
class _Host:
    """What is known of one (tls, host, port)."""

    keepalive_seconds: float = KEEPALIVE_SECONDS
    # Idle connections with the time they became so, the latest last.
    idle: deque[tuple[Connection, float]] = field(default_factory=deque)


class HttpSender:
    """HTTP/1.1 over plain or TLS connections. The number of connections is bounded by the requests in flight."""

    def __init__(self, policy: Policy, tls: ssl.SSLContext, *, max_response_bytes: int, wanted_bytes: int) -> None:
        self._resolver = Resolver(policy)
        self._tls = tls
        self._max_response_bytes = max_response_bytes
        self._wanted_bytes = wanted_bytes
        self._hosts: defaultdict[tuple[bool, str, int], _Host] = defaultdict(_Host)

    async def send(self, request: OutgoingRequest, *, timeout_seconds: float, fresh: bool = False) -> Answer:
        """POSTs within the deadline; see Sender."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_seconds
        late = f"no complete answer within {timeout_seconds:g} s"
        target = _target(request.url)
        head = _head(target, request)
        connection = None if fresh else _take_idle(self._host(target), loop.time())
        reused = connection is not None
        if connection is None:
            connection = await self._connect(target, deadline, late)
        timer = loop.call_at(deadline, connection.expire, late)
        try:
            answer = await connection.exchange(head, request.body)
        except SendError as error:
            error.reused = reused and error.kind is Failure.CONNECTION_LOST and not connection.received
            raise
        finally:
            timer.cancel()
        if connection.usable and not fresh:
            host = self._host(target)
            if connection.announced_idle_seconds is not None:
                announced = connection.announced_idle_seconds - KEEPALIVE_MARGIN_SECONDS
                host.keepalive_seconds = min(max(0.0, announced), MAX_KEEPALIVE_SECONDS)
            host.idle.append((connection, loop.time()))
        else:
            connection.close()
        return answer

    def _host(self, target: Target) -> _Host:
        """To be asked for after each wait: the sweep forgets hosts without idle connections."""
        return self._hosts[target.tls, target.host, target.port]

    async def sweep(self) -> None:
        """Closes connections that were idle for too long, for ever."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            for key, host in tuple(self._hosts.items()):
                while host.idle and not _is_fresh(host, *host.idle[0], loop.time()):
                    host.idle.popleft()[0].close()
                if not host.idle:
                    del self._hosts[key]

    def close(self) -> None:
        """Closes what is idle."""
        for host in self._hosts.values():
            for connection, _ in host.idle:
                connection.close()
        self._hosts.clear()

    async def _connect(self, target: Target, deadline: float, late: str) -> Connection:
        try:
            async with asyncio.timeout_at(deadline):
                addresses = await self._resolver.resolve(target.host, target.port)
                return await self._connect_to(target, addresses, deadline)
        except TimeoutError:
            raise SendError(Failure.TIMEOUT, late) from None
        except EgressDenied as error:
            raise SendError(Failure.EGRESS_DENIED, str(error)) from None

    async def _connect_to(self, target: Target, addresses: list[str], deadline: float) -> Connection:
        """Tries one address after the other, each for its share of the time; the last failure is the answer."""
        loop = asyncio.get_running_loop()
        failure: Exception | None = None
        for tried, address in enumerate(addresses):
            share = (deadline - loop.time()) / (len(addresses) - tried)
            try:
                async with asyncio.timeout(share):
                    _, connection = await loop.create_connection(
                        lambda: Connection(self._max_response_bytes, self._wanted_bytes),
                        address,
                        target.port,
                        ssl=self._tls if target.tls else None,
                        server_hostname=target.host if target.tls else None,
                    )
            except ssl.SSLError as error:
                raise SendError(Failure.TLS, f"TLS failed: {error.reason or error}") from None
            except OSError as error:
                failure = error
            else:
                return connection
        if isinstance(failure, TimeoutError):
            raise failure
        raise SendError(Failure.CONNECT, f"{target.host}:{target.port}: {failure}")


def _take_idle(host: _Host, now: float) -> Connection | None:
    while host.idle:
        connection, since = host.idle.pop()
        if _is_fresh(host, connection, since, now):
            return connection
        connection.close()
    return None


def _is_fresh(host: _Host, connection: Connection, since: float, now: float) -> bool:
    return connection.usable and now - since < host.keepalive_seconds


@functools.lru_cache(maxsize=4096)
def _target(text: str) -> Target:
    try:
        # As it was given where that can be sent, for some receivers sign their URLs; else encoded by yarl.
        url = yarl.URL(text, encoded=text.isascii() and text.isprintable() and " " not in text)
        host, port = url.raw_host, url.port
    except ValueError as error:
        raise SendError(Failure.INVALID_REQUEST, str(error)) from None
    if url.scheme not in {"http", "https"} or not host or not port:
        raise SendError(Failure.INVALID_REQUEST, "the target is no absolute http or https URL")
    head = f"POST {url.raw_path_qs} HTTP/1.1\r\nHost: {url.host_port_subcomponent}\r\n"
    return Target(url.scheme == "https", host, port, head.encode("ascii"))


def _head(target: Target, request: OutgoingRequest) -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    if lines.count("\n") != len(request.headers) or lines.count("\r") != len(request.headers) or "\0" in lines:
        raise SendError(Failure.INVALID_REQUEST, "a header has a line break in it")
    return b"%b%bContent-Length: %d\r\n\r\n" % (target.head, lines.encode("latin-1"), len(request.body))


@contextlib.asynccontextmanager
async def sender(policy: Policy, *, max_response_bytes: int, wanted_bytes: int) -> AsyncIterator[HttpSender]:
    """A sender whose connections are closed with the context."""
    tls = ssl.create_default_context()
    tls.set_alpn_protocols(["http/1.1"])
    created = HttpSender(policy, tls, max_response_bytes=max_response_bytes, wanted_bytes=wanted_bytes)
    sweeper = asyncio.create_task(created.sweep(), name="idle_connections")
    try:
        yield created
    finally:
        sweeper.cancel()
        await asyncio.gather(sweeper, return_exceptions=True)
        created.close()
