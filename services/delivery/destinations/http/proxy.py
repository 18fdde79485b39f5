"""A tunnel through an HTTP proxy (CONNECT, RFC 9110, 9.3.6), for every target, with or without TLS."""

import asyncio
import base64
import ssl
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import unquote, urlsplit

MAX_ANSWER_BYTES = 16 << 10
_END = b"\r\n\r\n"


class ProxyRefused(OSError):
    """The proxy is there, and made no tunnel."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Proxy:
    """Where the proxy is, and what it is told about who asks."""

    host: str
    port: int
    authorization: bytes = field(default=b"", repr=False)

    @classmethod
    def parse(cls, url: str) -> "Proxy":
        """From http://[user:password@]host:port; ValueError, which does not repeat the URL, when it is none."""
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname or not parts.port:
            raise ValueError("EGRESS_PROXY: must be http://[user:password@]host:port")
        credentials = b""
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            credentials = b"Proxy-Authorization: Basic %b\r\n" % base64.b64encode(pair.encode())
        return cls(host=parts.hostname, port=parts.port, authorization=credentials)

    async def connect(
        self, protocol: asyncio.Protocol, address: str, port: int, tls: ssl.SSLContext | None, name: str | None
    ) -> None:
        """Connects a protocol to an address, with TLS under a name if asked for; OSError when it cannot be."""
        loop = asyncio.get_running_loop()
        target = b"%b:%d" % (f"[{address}]".encode() if ":" in address else address.encode(), port)
        transport, opening = await loop.create_connection(_Opening, self.host, self.port)
        try:
            transport.write(b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n%b\r\n" % (target, target, self.authorization))
            await opening.opened
            if tls is None:
                transport.set_protocol(protocol)
                protocol.connection_made(transport)
                transport.resume_reading()
            else:
                secured = await loop.start_tls(transport, protocol, tls, server_hostname=name)
                if secured is None:
                    raise ProxyRefused("the egress proxy closed the connection")
                protocol.connection_made(secured)
        except BaseException:
            transport.abort()
            raise


class _Opening(asyncio.Protocol):
    """Waits for the proxy's answer."""

    def __init__(self) -> None:
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._transport: asyncio.Transport | None = None
        self._answer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._answer += data
        if self.opened.done():
            return
        head, end, rest = self._answer.partition(_END)
        if end and self._transport is not None:
            status = head.partition(b"\r\n")[0].split(b" ")
            if len(status) < 2 or not status[0].startswith(b"HTTP/1.") or not status[1].startswith(b"2"):  # noqa: PLR2004 - version and status
                code = status[1][:3].decode("latin-1") if len(status) > 1 else "no HTTP"
                self._refuse(f"the egress proxy answered {code}")
            elif rest:
                self._refuse("the egress proxy sent more than an answer")
            else:
                # Whose transport it becomes reads on: what comes before that must not get lost here.
                self._transport.pause_reading()
                self.opened.set_result(None)
        elif len(self._answer) > MAX_ANSWER_BYTES:
            self._refuse("the egress proxy's answer does not end")

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 - the protocol's signature
        self._refuse("the egress proxy closed the connection")

    def _refuse(self, why: str) -> None:
        if not self.opened.done():
            self.opened.set_exception(ProxyRefused(why))
