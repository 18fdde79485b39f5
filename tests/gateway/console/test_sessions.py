"""Who is signed in, which strangers may ask as often as they like, and what ends with a session."""

import json
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from starlette.requests import Request

from protos.webhook.v1 import access_pb2 as pb
from protos.webhook.v1 import ingest_pb2
from services.gateway import app
from services.gateway.console import sessions
from services.gateway.console.oidc import Oidc
from services.gateway.web.backends import Backends, Channels
from services.gateway.web.callers import ANYBODY, Caller
from services.platform import ids
from services.platform.auth import keys
from services.platform.grpc import client as grpc_client
from services.platform.process import probes
from services.platform.process.bounds import Refusals
from tests.gateway.fakes import NOW, Services


class _Access:
    """The access service, with one session."""

    def __init__(self) -> None:
        self.token = keys.make_session_token()

    async def DescribeSignIn(self, _request: object, *, timeout: float) -> pb.DescribeSignInResponse:  # noqa: ARG002, ASYNC109
        return pb.DescribeSignInResponse()

    async def GetSession(self, request: pb.GetSessionRequest, *, timeout: float) -> pb.GetSessionResponse:  # noqa: ARG002, ASYNC109
        if request.token == self.token:
            return pb.GetSessionResponse(session=pb.Session(key_id="bootstrap", role=pb.ROLE_ADMIN))
        return pb.GetSessionResponse(refusal=pb.Refusal(reason="KEY_INVALID", message="the session has ended"))


async def test_made_up_tokens_are_refused_as_slowly_as_made_up_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    paused: list[str] = []

    async def pause(_: object) -> None:
        paused.append("paused")

    monkeypatch.setattr(Refusals, "pause", pause)
    access = _Access()
    services: Any = SimpleNamespace(access=access, timeout_seconds=1.0)
    oidc = Oidc(services)

    async def find_session(token: str) -> Caller:
        if token != access.token:
            raise keys.invalid()
        return ANYBODY

    callers: Any = SimpleNamespace(required=True, find_session=find_session)
    endpoint = sessions.route(services, callers, oidc, development=False).endpoint

    async def caller(*cookies: str) -> object:
        headers = [(b"host", b"localhost"), *((b"cookie", f"webhook_session={token}".encode()) for token in cookies)]
        answer = await endpoint(Request({"type": "http", "method": "GET", "path": sessions.PATH, "headers": headers}))
        return json.loads(answer.body)["caller"]

    found = await caller(access.token)
    assert isinstance(found, dict)
    assert found["key_id"] == "bootstrap"
    assert await caller() is None
    assert paused == []
    assert await caller(keys.make_session_token()) is None
    assert paused == ["paused"]


async def test_where_traces_are_shown_is_told_to_who_is_signed_in_and_to_no_stranger() -> None:
    shown = "https://traces.example.com/{trace_id}"
    access = _Access()
    services: Any = SimpleNamespace(access=access, timeout_seconds=1.0)

    async def find_session(_token: str) -> Caller:
        return ANYBODY

    async def told(*cookies: str, required: bool = True, trace_url: str = shown) -> object:
        callers: Any = SimpleNamespace(required=required, find_session=find_session)
        endpoint = sessions.route(services, callers, Oidc(services), development=False, trace_url=trace_url).endpoint
        headers = [(b"host", b"localhost"), *((b"cookie", f"webhook_session={token}".encode()) for token in cookies)]
        answer = await endpoint(Request({"type": "http", "method": "GET", "path": sessions.PATH, "headers": headers}))
        return json.loads(answer.body)["trace_url"]

    assert await told(access.token) == shown
    assert await told() is None
    assert await told(required=False) == shown
    assert await told(access.token, trace_url="") is None


class _Ended:
    """Callers of whom one is signed in, until a request has begun."""

    required = True

    def __init__(self) -> None:
        self.finds = 0

    def known(self, _header: bytes | None) -> Caller | None:
        return None

    async def find_session(self, _token: str) -> Caller:
        self.finds += 1
        if self.finds > 1:
            raise keys.invalid()
        return ANYBODY


async def test_lines_end_with_the_session_that_reads_them(services: Services) -> None:
    services.event = ingest_pb2.Event(id=str(ids.new()), content_type="text/plain", created_at=NOW)
    nothing: Any = None
    callers: Any = _Ended()
    async with grpc_client.channel(f"127.0.0.1:{services.port}") as channel:
        backends = Backends.over(
            Channels(ingest=channel, delivery=channel, pulling=channel, watching=channel, analytics=channel),
            timeout_seconds=60,
        )
        application = app.create(
            backends, nothing, callers, nothing, probes.Health(), max_payload_bytes=1, serve_operations=False
        )
        transport = httpx.ASGITransport(application)
        cookie = {"cookie": f"webhook_session={keys.make_session_token()}"}
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=cookie) as browser:
            answer = await browser.get("/api/v1/events?format=ndjson")
    first, last = [json.loads(line) for line in answer.text.splitlines()]
    assert first["id"] == services.event.id
    assert (last["error"]["status"], last["next_cursor"]) == (401, "more")
