"""HTTP/1.1 as uvicorn serves it, with its answers in order: whoever counts them gets each request's own."""

from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class OrderedProtocol(HttpToolsProtocol):
    """Answers what is no HTTP in its turn. uvicorn does so at once, in the place of a request that is being served."""

    def send_400_response(self, msg: str) -> None:
        """Called for bytes that cannot be parsed, and for all that come after them."""
        latest = self.cycle
        if latest is None:
            super().send_400_response(msg)
        elif not latest.more_body:
            # What came before is whole. It keeps its answers, and the connection ends with them.
            if latest.response_complete:
                super().send_400_response(msg)
            else:
                latest.keep_alive = False
        elif latest.response_started:
            self.transport.close()  # the rest of a body that nobody waited for: its request has its answer
        elif self.pipeline:
            # It waits for its turn.
            self.pipeline[0] = (latest, _bad_request)  # type: ignore[assignment]  # uvicorn's names for ASGI's types
        else:
            super().send_400_response(msg)


async def _bad_request(_: Scope, __: Receive, send: Send) -> None:
    headers = [(b"content-length", b"0"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": 400, "headers": headers})
    await send({"type": "http.response.body", "body": b""})
