"""Whole lists as lines of JSON: page after page of a search, as fast as the client reads."""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import grpc
import msgspec
import structlog
from fastapi import Response
from starlette.responses import StreamingResponse

from services.gateway.web import problems
from services.gateway.web.backends import Backends
from services.platform import errors, paging

if TYPE_CHECKING:
    from services.gateway.web.backends import Method

log = structlog.get_logger(__name__)

MEDIA_TYPE = "application/x-ndjson"
# For OpenAPI, beside the page.
CONTENT: Mapping[str, Any] = {
    MEDIA_TYPE: {"schema": {"type": "string", "description": "With `format=ndjson`: a line for each object."}}
}
_LINE = b"\n"


async def respond(
    services: Backends, method: "Method[Any, Any]", request: Any, items: Callable[[Any], Iterable[object]]
) -> Response:
    """Return a response with everything that a search finds from its page on; `items` are those of an answer.

    What is wrong with the request is found before it begins. If a later page cannot be had, the last line has the
    problem and the cursor of that page: also when the key or the session of the caller has ended meanwhile.
    """
    request.page_size = paging.MAX_PAGE_SIZE
    first = await services.call(method, request)

    async def lines() -> AsyncIterator[bytes]:
        answer = first
        while True:
            yield b"".join(msgspec.json.encode(item) + _LINE for item in items(answer))
            if not answer.next_page_token:
                return
            request.page_token = answer.next_page_token
            try:
                await services.check_session()
                answer = await services.call(method, request)
            except (errors.WebhookError, grpc.aio.AioRpcError) as error:
                refused = error if isinstance(error, errors.WebhookError) else problems.refusal_of(error)
                log.warning("a stream of lines ends early", reason=refused.reason)
                problem = problems.document(refused)
                yield msgspec.json.encode({"error": problem, "next_cursor": request.page_token}) + _LINE
                return

    return StreamingResponse(lines(), media_type=MEDIA_TYPE)
