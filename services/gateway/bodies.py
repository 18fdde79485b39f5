"""Reads request bodies, within a bound of bytes and of time."""

import asyncio

from starlette.types import Receive, Scope

from services.gateway import problems
from services.platform import clock, errors

# For a body that does not come with its headers; more as more of it comes.
UPLOAD_TIMEOUT_SECONDS = 30.0


class ClientLeft(Exception):
    """The client closed the connection before its request was whole; there is nobody to answer."""


async def read(scope: Scope, receive: Receive, max_bytes: int) -> bytes:
    """The whole body; PayloadTooLarge as soon as it is known to be over `max_bytes`.

    The first piece, which nearly always is the whole, has no timer of its own here, which would cost a tenth of the hot
    path: the server closes connections whose requests do not end (services/platform/http/protocol.py).

    What is left unread is thrown away by the server, within its bounds, so that the client gets to read the answer.
    """
    for name, value in scope["headers"]:
        if name == b"content-length" and int(value) > max_bytes:
            raise _too_large(max_bytes)
    message = await receive()
    if message["type"] != "http.request":
        raise ClientLeft
    body: bytes = message.get("body", b"")
    if message.get("more_body", False):
        body = await _read_on(receive, body, max_bytes)
    if len(body) > max_bytes:
        raise _too_large(max_bytes)
    return body


async def _read_on(receive: Receive, begin: bytes, max_bytes: int) -> bytes:
    parts, size = [begin], len(begin)
    latest = asyncio.get_running_loop().time() + UPLOAD_TIMEOUT_SECONDS
    try:
        async with asyncio.timeout_at(latest) as timeout:
            while size <= max_bytes:
                message = await receive()
                if message["type"] != "http.request":
                    raise ClientLeft
                parts.append(message.get("body", b""))
                size += len(parts[-1])
                timeout.reschedule(latest + clock.upload_seconds(size))
                if not message.get("more_body", False):
                    break
    except TimeoutError:
        allowed = UPLOAD_TIMEOUT_SECONDS + clock.upload_seconds(size)
        raise problems.RequestTimeout(f"the body did not arrive within {allowed:.0f} s") from None
    return b"".join(parts)


def _too_large(max_bytes: int) -> errors.WebhookError:
    return errors.PayloadTooLarge.field("body", f"must be at most {max_bytes} bytes")
