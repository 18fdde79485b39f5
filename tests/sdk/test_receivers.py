"""The receivers of the Python SDK verify each delivery, and handle it once."""

import base64
import hashlib
import hmac
import time
import uuid
from collections.abc import Callable
from typing import Any

import django
import flask
import httpx
import pytest
from django.conf import settings
from fastapi import FastAPI

from webhook_service.receivers import AlreadyReceived, BeingHandled, Received, Receiver, SeenInMemory

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
Send = Callable[[bytes, dict[str, str]], tuple[int, bytes]]


def signed(body: bytes, *, delivery_id: str | None = None, event_type: str = "order.created") -> dict[str, str]:
    """Return the headers of a delivery."""
    delivery_id, now = delivery_id or str(uuid.uuid4()), str(int(time.time()))
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    signature = base64.b64encode(hmac.digest(key, f"{delivery_id}.{now}.".encode() + body, hashlib.sha256)).decode()
    return {
        "Content-Type": "application/json",
        "X-Event-Type": event_type,
        "X-Webhook-Attempt": "2",
        "webhook-id": delivery_id,
        "webhook-timestamp": now,
        "webhook-signature": f"v1,{signature}",
    }


def with_fastapi(handler: Callable[[Received], Any]) -> Send:
    from webhook_service.receivers.fastapi import webhook

    app = FastAPI()
    webhook(app, "/hook", Receiver(SECRET))(handler)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)

    def send(body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
        import asyncio

        async def post() -> tuple[int, bytes]:
            async with httpx.AsyncClient(transport=transport, base_url="http://receiver") as client:
                response = await client.post("/hook", content=body, headers=headers)
                return response.status_code, response.content

        return asyncio.run(post())

    return send


def with_flask(handler: Callable[[Received], Any]) -> Send:
    from webhook_service.receivers.flask import webhook

    app = flask.Flask("receiver")
    webhook(app, "/hook", Receiver(SECRET))(handler)

    def send(body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
        response = app.test_client().post("/hook", data=body, headers=headers)
        return response.status_code, response.data

    return send


def with_django(handler: Callable[[Received], Any]) -> Send:
    if not settings.configured:
        settings.configure(ALLOWED_HOSTS=["*"], SECRET_KEY="of a test", ROOT_URLCONF=())
        django.setup()
    from django.core.cache import cache
    from django.core.handlers.wsgi import WSGIHandler
    from django.urls import path

    from webhook_service.receivers.django import SeenInCache, webhook

    view = webhook(Receiver(SECRET, seen=SeenInCache(cache)))(handler)

    class Urls:
        urlpatterns = (path("hook", view),)

    settings.ROOT_URLCONF = Urls
    transport = httpx.WSGITransport(WSGIHandler())

    def send(body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
        with httpx.Client(transport=transport, base_url="http://receiver") as client:
            response = client.post("/hook", content=body, headers=headers)
            return response.status_code, response.content

    return send


@pytest.mark.parametrize("framework", [with_fastapi, with_flask, with_django], ids=["fastapi", "flask", "django"])
class TestFrameworks:
    def test_a_genuine_delivery_is_handled_once(self, framework: Callable[[Any], Send]) -> None:
        handled: list[Received] = []
        send, headers = framework(handled.append), signed(b'{"n": 1}')
        assert [send(b'{"n": 1}', headers)[0] for _ in range(2)] == [204, 204]
        (received,) = handled
        assert (received.json(), received.event_type, received.attempt) == ({"n": 1}, "order.created", 2)

    def test_what_is_not_genuine_is_refused(self, framework: Callable[[Any], Send]) -> None:
        handled: list[Received] = []
        send = framework(handled.append)
        status, said = send(b'{"n": 2}', signed(b'{"n": 1}'))
        assert (status, handled) == (401, [])
        assert b"no signature" in said

    def test_a_delivery_that_could_not_be_handled_is_handled_again(self, framework: Callable[[Any], Send]) -> None:
        failures = [RuntimeError("the database is away")]

        def handle(_: Received) -> None:
            if failures:
                raise failures.pop()

        send, headers = framework(handle), signed(b"{}")
        assert [send(b"{}", headers)[0] for _ in range(2)] == [500, 204]

    def test_a_challenge_is_answered(self, framework: Callable[[Any], Send]) -> None:
        handled: list[Received] = []
        body = b'{"type": "url_verification", "challenge": "abc"}'
        assert framework(handled.append)(body, signed(body, event_type="url_verification")) == (200, b"abc")
        assert handled == []


def test_seen_in_memory_lets_one_at_a_time_handle_a_delivery_and_forgets_the_oldest() -> None:
    seen = SeenInMemory(remembered=1)
    seen.begin("a")
    with pytest.raises(BeingHandled):
        seen.begin("a")
    seen.done("a")
    with pytest.raises(AlreadyReceived):
        seen.begin("a")
    seen.begin("b")
    seen.done("b")
    seen.begin("a")


def test_a_receiver_without_a_secret_is_refused() -> None:
    with pytest.raises(ValueError, match="secrets must have a secret"):
        Receiver([""])
