"""The sender: connections to receivers that are kept while they may be, each to an address that was vetted."""

import asyncio
import contextlib
import functools
import ssl
from collections import defaultdict, deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import TypeAlias

from services.delivery.destinations.destination import Answer, Failure, SendError
from services.delivery.destinations.http import dialing
from services.delivery.destinations.http.connection import Connection
from services.delivery.destinations.http.identity import Identity
from services.delivery.destinations.http.proxy import Proxy
from services.delivery.destinations.http.request import OutgoingRequest
from services.delivery.destinations.http.resolver import Resolver
from services.domain.egress import targets
from services.domain.egress.policy import EgressDenied, Policy
from services.domain.egress.targets import Target

# Idle connections are dropped after this, for common receivers drop theirs after 5 s (Node.js), or 1 s before
# the receiver says that it will (Keep-Alive: timeout).
KEEPALIVE_SECONDS = 4.0
KEEPALIVE_MARGIN_SECONDS = 1.0
MAX_KEEPALIVE_SECONDS = 60.0
SWEEP_SECONDS = 1.0
_REQUEST_TIMEOUT = 408
# What OpenSSL's verdicts on a certificate mean to the endpoint's owner, by their X509_V_ERR_ codes; and its reasons.
_UNKNOWN_AUTHORITY = "it is signed by an unknown authority, or the receiver does not send an intermediate certificate"
_VERDICTS = {
    2: _UNKNOWN_AUTHORITY,
    18: "it is not signed by an authority",
    19: "it is signed by an unknown authority",
    20: _UNKNOWN_AUTHORITY,
    21: _UNKNOWN_AUTHORITY,
}
_REASONS = {
    "WRONG_VERSION_NUMBER": "the receiver does not speak TLS on this port",
    "UNSUPPORTED_PROTOCOL": "the receiver's version of TLS is too old",
    "TLSV1_ALERT_PROTOCOL_VERSION": "the receiver does not accept TLS 1.2 or 1.3",
}
_Key: TypeAlias = tuple[bool, str, int, Identity | None]
# A connection, and the address that it leads to.
_Opened: TypeAlias = tuple[Connection, str]


@dataclass(slots=True)
class _Host:
    """What is known of one (tls, host, port) under one identity, with which no other shares a connection."""

    keepalive_seconds: float = KEEPALIVE_SECONDS
    # Idle connections with the time they became so and the address that they lead to, the latest last.
    idle: deque[tuple[Connection, float, str]] = field(default_factory=deque)


class HttpSender:
    """HTTP/1.1 over plain or TLS connections. The number of connections is bounded by the requests in flight."""

    def __init__(
        self,
        policy: Policy,
        tls: ssl.SSLContext,
        *,
        max_response_bytes: int,
        wanted_bytes: int,
        proxy: Proxy | None = None,
    ) -> None:
        self._resolver = Resolver(policy)
        self._tls = tls
        self._proxy = proxy
        self._max_response_bytes = max_response_bytes
        self._wanted_bytes = wanted_bytes
        self._hosts: defaultdict[_Key, _Host] = defaultdict(_Host)

    async def send(self, request: OutgoingRequest, *, timeout_seconds: float, fresh: bool = False) -> Answer:
        """POSTs within the deadline; see Sender."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_seconds
        late = f"no complete answer within {timeout_seconds:g} s"
        target, begin = _target(request.url)
        head = _head(begin, request)
        # At each attempt, whether a connection is there or not: where it leads must still be where its name does.
        addresses = self._resolver.known(target.host, target.port)
        if addresses is None:
            addresses = await self._resolve(target, deadline, late)
        identity = request.identity
        kept = None if fresh else self._take_idle(target, identity, addresses)
        connection, address = kept or await self._connect(target, identity, addresses, deadline, late)
        timer = loop.call_at(deadline, connection.expire, late)
        try:
            answer = await connection.exchange(head, request.body)
            if kept and answer.status_code == _REQUEST_TIMEOUT and not connection.usable:
                # What servers say on a connection that was idle for long: they closed it before this request.
                message = "the receiver closed the idle connection with 408 before the request"
                raise SendError(Failure.CONNECTION_LOST, message, status_code=_REQUEST_TIMEOUT, reused=True)
            if connection.usable and not fresh:
                self._keep(target, identity, connection, address)
            else:
                connection.close()
        except SendError as error:
            reused = kept is not None and error.kind is Failure.CONNECTION_LOST
            error.reused = error.reused or (reused and not connection.received)
            raise
        except BaseException:
            connection.close()
            raise
        finally:
            timer.cancel()
        return answer

    def _host(self, target: Target, identity: Identity | None) -> _Host:
        """To be asked for after each wait: the sweep forgets hosts without idle connections."""
        return self._hosts[target.tls, target.host, target.port, identity]

    def _keep(self, target: Target, identity: Identity | None, connection: Connection, address: str) -> None:
        """Puts a connection by, for as long as the receiver says that it keeps its own end."""
        host = self._host(target, identity)
        if connection.announced_idle_seconds is not None:
            announced = connection.announced_idle_seconds - KEEPALIVE_MARGIN_SECONDS
            host.keepalive_seconds = min(max(0.0, announced), MAX_KEEPALIVE_SECONDS)
        host.idle.append((connection, asyncio.get_running_loop().time(), address))

    async def sweep(self) -> None:
        """Closes connections that were idle for too long, for ever."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            for key, host in tuple(self._hosts.items()):
                while host.idle and not _is_fresh(host, *host.idle[0][:2], loop.time()):
                    host.idle.popleft()[0].close()
                if not host.idle:
                    del self._hosts[key]

    def close(self) -> None:
        """Closes what is idle."""
        for host in self._hosts.values():
            for connection, *_ in host.idle:
                connection.close()
        self._hosts.clear()

    def _take_idle(self, target: Target, identity: Identity | None, addresses: list[str]) -> _Opened | None:
        """The connection that became idle last, if it leads to one of the addresses; those that do not are closed."""
        host, now = self._host(target, identity), asyncio.get_running_loop().time()
        while host.idle:
            connection, since, address = host.idle.pop()
            if address in addresses and _is_fresh(host, connection, since, now):
                return connection, address
            connection.close()
        return None

    async def _resolve(self, target: Target, deadline: float, late: str) -> list[str]:
        try:
            async with asyncio.timeout_at(deadline):
                return await self._resolver.resolve(target.host, target.port)
        except TimeoutError:
            raise SendError(Failure.TIMEOUT, late) from None
        except EgressDenied as error:
            raise SendError(Failure.EGRESS_DENIED, str(error)) from None

    async def _connect(
        self, target: Target, identity: Identity | None, addresses: list[str], deadline: float, late: str
    ) -> _Opened:
        openings = [functools.partial(self._open, target, identity, address) for address in addresses]
        try:
            async with asyncio.timeout_at(deadline):
                return await dialing.first(openings, _close)
        except TimeoutError:
            raise SendError(Failure.TIMEOUT, late) from None
        except ssl.SSLError as error:
            raise SendError(Failure.TLS, f"TLS failed: {tls_reason(error)}") from None
        except OSError as error:
            raise SendError(Failure.CONNECT, f"{target.host}:{target.port}: {error}") from None

    async def _open(self, target: Target, identity: Identity | None, address: str) -> _Opened:
        """A connection to this address and no other, by itself or through the proxy."""
        loop = asyncio.get_running_loop()
        connection = Connection(self._max_response_bytes, self._wanted_bytes)
        tls = (identity.tls if identity else self._tls) if target.tls else None
        name = target.host.removesuffix(".") if target.tls else None
        if self._proxy is None:
            await loop.create_connection(lambda: connection, address, target.port, ssl=tls, server_hostname=name)
        else:
            await self._proxy.connect(connection, address, target.port, tls, name)
        return connection, address


def tls_reason(error: ssl.SSLError) -> str:
    """Return why TLS failed, as OpenSSL says it, with what that means where it does not say it plainly."""
    if isinstance(error, ssl.SSLCertVerificationError):
        said, meaning = f"the receiver's certificate: {error.verify_message}", _VERDICTS.get(error.verify_code)
    else:
        said, meaning = error.reason or str(error), _REASONS.get(error.reason)
    return f"{said} ({meaning})" if meaning else said


def _close(opened: _Opened) -> None:
    opened[0].close()


def _is_fresh(host: _Host, connection: Connection, since: float, now: float) -> bool:
    return connection.usable and now - since < host.keepalive_seconds


@functools.lru_cache(maxsize=4096)
def _target(url: str) -> tuple[Target, bytes]:
    """Where a URL leads, and the beginning of a request to it."""
    try:
        target = targets.parse(url)
    except ValueError as error:
        raise SendError(Failure.INVALID_REQUEST, f"the target {error}") from None
    return target, f"POST {target.path} HTTP/1.1\r\nHost: {target.authority}\r\n".encode("ascii")


def _head(begin: bytes, request: OutgoingRequest) -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    if lines.count("\n") != len(request.headers) or lines.count("\r") != len(request.headers) or "\0" in lines:
        raise SendError(Failure.INVALID_REQUEST, "a header has a line break in it")
    return b"%b%bContent-Length: %d\r\n\r\n" % (begin, lines.encode("latin-1"), len(request.body))


def trust(ca_bundle: str = "") -> ssl.SSLContext:
    """TLS that verifies receivers against the system's store and, if a file is named, its authorities.

    The system's, for it is what an operator keeps up to date, and what SSL_CERT_FILE replaces. OSError when there is no
    such file, or nothing in it.
    """
    tls = ssl.create_default_context()
    tls.set_alpn_protocols(["http/1.1"])
    if ca_bundle:
        tls.load_verify_locations(ca_bundle)
    return tls


@contextlib.asynccontextmanager
async def sender(
    policy: Policy,
    *,
    max_response_bytes: int,
    wanted_bytes: int,
    tls: ssl.SSLContext | None = None,
    proxy: Proxy | None = None,
) -> AsyncIterator[HttpSender]:
    """A sender whose connections are closed with the context."""
    created = HttpSender(
        policy, tls or trust(), max_response_bytes=max_response_bytes, wanted_bytes=wanted_bytes, proxy=proxy
    )
    sweeper = asyncio.create_task(created.sweep(), name="idle_connections")
    try:
        yield created
    finally:
        sweeper.cancel()
        await asyncio.gather(sweeper, return_exceptions=True)
        created.close()
