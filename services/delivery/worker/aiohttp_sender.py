"""The sender on aiohttp: its resolver and connector hooks let the egress guard hold at connect time."""

import asyncio
import contextlib
import functools
import ssl
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import aiohttp
import yarl

from services.delivery.worker.egress import EgressDenied, GuardedResolver, Policy
from services.delivery.worker.request import OutgoingRequest
from services.delivery.worker.sender import Answer, Failure, SendError

# Shorter than the idle timeout of common receivers (Node.js: 5 s), so that a kept connection is rarely dead.
KEEPALIVE_SECONDS = 4.0
DNS_TTL_SECONDS = 10
# Headers that aiohttp would add by itself. No Accept-Encoding: a compressed answer is no readable log.
_SKIPPED_HEADERS = ("Accept", "Accept-Encoding")


class AiohttpSender:
    """Keeps connections per host, and a second session for requests that must not reuse one."""

    def __init__(
        self, kept: aiohttp.ClientSession, fresh: aiohttp.ClientSession, policy: Policy, *, max_response_bytes: int
    ) -> None:
        self._kept = kept
        self._fresh = fresh
        self._policy = policy
        self._max_response_bytes = max_response_bytes

    async def send(self, request: OutgoingRequest, *, timeout_seconds: float, fresh: bool = False) -> Answer:
        """POSTs within the deadline; see Sender."""
        try:
            url = _url(request.url)
            self._policy.check_literal(url.raw_host or "", url.port or 0)
        except EgressDenied as error:
            raise SendError(Failure.EGRESS_DENIED, str(error)) from None
        except ValueError as error:
            raise SendError(Failure.INVALID_REQUEST, str(error)) from None
        trace = SimpleNamespace(reused=False, status_code=None)
        try:
            async with asyncio.timeout(timeout_seconds):
                return await self._post(self._fresh if fresh else self._kept, url, request, trace)
        except TimeoutError:
            message = f"no complete answer within {timeout_seconds:g} s"
            raise SendError(Failure.TIMEOUT, message, status_code=trace.status_code) from None
        except EgressDenied as error:
            raise SendError(Failure.EGRESS_DENIED, str(error)) from None
        except aiohttp.ClientError as error:
            kind = _kind(error)
            died_early = kind is Failure.CONNECTION_LOST and trace.status_code is None and trace.reused
            raise SendError(kind, _describe(error), status_code=trace.status_code, reused=died_early) from None
        except (OSError, ValueError) as error:
            raise SendError(Failure.CONNECTION_LOST, _describe(error), status_code=trace.status_code) from None

    async def _post(
        self, session: aiohttp.ClientSession, url: yarl.URL, request: OutgoingRequest, trace: SimpleNamespace
    ) -> Answer:
        async with session.post(
            url, data=request.body, headers=request.headers, allow_redirects=False, trace_request_ctx=trace
        ) as response:
            trace.status_code = response.status
            body = bytearray()
            while len(body) < self._max_response_bytes:
                chunk = await response.content.read(self._max_response_bytes - len(body))
                if not chunk:
                    break
                body += chunk
            else:
                response.close()  # the rest is not wanted, so the connection cannot be kept
            return Answer(status_code=response.status, body=bytes(body))


@functools.lru_cache(maxsize=4096)
def _url(text: str) -> yarl.URL:
    """As it was given where that can be sent, for some receivers sign their URLs; else encoded by yarl."""
    return yarl.URL(text, encoded=text.isascii() and text.isprintable() and " " not in text)


# From the particular to the general: the first that an error is an instance of.
_KINDS: tuple[tuple[type[aiohttp.ClientError], Failure], ...] = (
    (aiohttp.ClientConnectorDNSError, Failure.DNS),
    (aiohttp.ClientSSLError, Failure.TLS),
    (aiohttp.ClientConnectorError, Failure.CONNECT),
    (aiohttp.ClientConnectionError, Failure.CONNECTION_LOST),
    (aiohttp.ClientPayloadError, Failure.CONNECTION_LOST),
    (aiohttp.InvalidURL, Failure.INVALID_REQUEST),
    (aiohttp.NonHttpUrlClientError, Failure.INVALID_REQUEST),
)


def _kind(error: aiohttp.ClientError) -> Failure:
    return next((kind for cls, kind in _KINDS if isinstance(error, cls)), Failure.INVALID_RESPONSE)


def _describe(error: BaseException) -> str:
    return str(error) or type(error).__name__


async def _mark_reused(_: aiohttp.ClientSession, context: SimpleNamespace, __: Any) -> None:
    context.trace_request_ctx.reused = True


@contextlib.asynccontextmanager
async def sender(policy: Policy, *, max_response_bytes: int) -> AsyncIterator[AiohttpSender]:
    """A sender whose connections are closed with the context."""
    tls = ssl.create_default_context()
    tracing = aiohttp.TraceConfig()
    tracing.on_connection_reuseconn.append(_mark_reused)
    async with contextlib.AsyncExitStack() as stack:

        async def session(connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
            return await stack.enter_async_context(
                aiohttp.ClientSession(
                    connector=connector,
                    cookie_jar=aiohttp.DummyCookieJar(),
                    auto_decompress=False,
                    skip_auto_headers=_SKIPPED_HEADERS,
                    timeout=aiohttp.ClientTimeout(total=None),  # the deadline is ours
                    trust_env=False,
                    trace_configs=[tracing],
                    max_line_size=16 << 10,
                    max_field_size=16 << 10,
                )
            )

        # The number of connections is bounded by the requests in flight.
        common: dict[str, Any] = {"ssl": tls, "limit": 0, "ttl_dns_cache": DNS_TTL_SECONDS}
        kept = aiohttp.TCPConnector(resolver=GuardedResolver(policy), keepalive_timeout=KEEPALIVE_SECONDS, **common)
        fresh = aiohttp.TCPConnector(resolver=GuardedResolver(policy), force_close=True, **common)
        yield AiohttpSender(await session(kept), await session(fresh), policy, max_response_bytes=max_response_bytes)
