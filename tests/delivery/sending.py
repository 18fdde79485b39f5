"""Requests through the worker's sender, without the rest of the worker."""

from contextlib import AbstractAsyncContextManager

import pytest

from dev.harness.keys import vault
from services.delivery.destinations.destination import SendError
from services.delivery.destinations.http import sender as http_sender
from services.delivery.destinations.http.destination import HttpDestination
from services.delivery.destinations.http.request import OutgoingRequest
from services.delivery.destinations.http.sender import HttpSender
from services.delivery.destinations.registry import HTTP, Destinations
from services.domain.egress.policy import Policy

MAX_RESPONSE_BYTES = 64 << 10
WANTED_BYTES = 4 << 10
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def sender(policy: Policy) -> AbstractAsyncContextManager[HttpSender]:
    """The sender that the worker uses."""
    return http_sender.sender(policy, max_response_bytes=MAX_RESPONSE_BYTES, wanted_bytes=WANTED_BYTES)


def destinations(sender: HttpSender) -> Destinations:
    """Return the worker's destinations, with this sender."""
    return Destinations({HTTP: HttpDestination(vault(), sender)})


def post(url: str, body: bytes = b"{}") -> OutgoingRequest:
    """A request with a few headers."""
    headers = {"Content-Type": "application/json", "User-Agent": "test", "webhook-id": "1"}
    return OutgoingRequest(url=url, headers=headers, body=body)


async def failure(sender: HttpSender, url: str, *, timeout_seconds: float = 5.0, body: bytes = b"{}") -> SendError:
    """Why a request fails."""
    with pytest.raises(SendError) as raised:
        await sender.send(post(url, body), timeout_seconds=timeout_seconds)
    return raised.value
