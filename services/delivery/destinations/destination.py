"""What sends a request, as the rest of the worker sees it. The client library stays behind this interface."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from services.delivery.destinations.http.request import OutgoingRequest


class Failure(StrEnum):
    """Why a request got no usable answer."""

    TIMEOUT = "timeout"
    DNS = "dns"
    CONNECT = "connect"
    TLS = "tls"
    CONNECTION_LOST = "connection_lost"
    INVALID_RESPONSE = "invalid_response"
    EGRESS_DENIED = "egress_denied"
    INVALID_REQUEST = "invalid_request"
    SECRET_UNREADABLE = "secret_unreadable"  # noqa: S105 - the name of a failure


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """A receiver's answer: its status, and the beginning of its body."""

    status_code: int
    body: bytes
    # The header as it came, unless it is longer than a number or a date can be.
    retry_after: bytes | None = None
    # The header as it came, cut at a bound.
    location: bytes | None = None


class SendError(Exception):
    """No usable answer. `status_code` is set when the headers of one came before it failed.

    `reused` says that a kept-alive connection died before any byte of an answer: the receiver had most
    likely closed it before the request, so that a fresh one is worth a try at once.
    """

    def __init__(self, kind: Failure, message: str, *, status_code: int | None = None, reused: bool = False) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.status_code = status_code
        self.reused = reused


class Sender(Protocol):
    """Sends requests; raises SendError."""

    async def send(self, request: OutgoingRequest, *, timeout_seconds: float, fresh: bool = False) -> Answer:
        """POSTs within a deadline over connect, headers and body; `fresh` forbids a reused connection.

        Redirects are not followed. The body is read up to a bound and cut there.
        """
        ...
