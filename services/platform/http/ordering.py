"""HTTP/1.1 as uvicorn serves it, with its answers in order: a client that counts them gets each request's own."""

import sys

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from services.platform.http import problems
from services.platform.http.problems import HttpProblem

# How much of the parser's own words a detail repeats.
_MAX_CAUSE_LENGTH = 100


class OrderedProtocol(HttpToolsProtocol):
    """Refuses in its turn what is not HTTP. uvicorn does so at once, in the place of a request that is being served."""

    # Of the request whose headers came last.
    request_id: str | None = None

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's words, always the same
        """Respond to bytes that cannot be parsed, and to all that come after them."""
        problem = problems.bad_request(f"the request is not valid HTTP/1.1: {_cause()}")
        latest = self.cycle
        if latest is None:
            self._refuse_now(problem)
        elif not latest.more_body:
            # What came before is whole. It keeps its answers, and the connection ends with them.
            if latest.response_complete:
                self._refuse_now(problem)
            else:
                latest.keep_alive = False
        elif latest.response_started:
            self.transport.close()  # the rest of a body that nobody waited for: its request has its answer
        elif self.pipeline:
            # It waits for its turn.
            self.pipeline[0] = (latest, problem)  # type: ignore[assignment]  # uvicorn's names for ASGI's types
        else:
            self._refuse_now(problem, self.request_id)

    def _refuse_now(self, problem: HttpProblem, request_id: str | None = None) -> None:
        self.transport.write(problem.raw(request_id))
        self.transport.close()


def _cause() -> str:
    """Return what the parser has found; it calls a failure of our own callbacks, such as for a bad target, its own."""
    error = sys.exception()
    if error is None or error.__context__ is not None:
        return "the request target or a header cannot be read"
    return str(error)[:_MAX_CAUSE_LENGTH] or type(error).__name__
