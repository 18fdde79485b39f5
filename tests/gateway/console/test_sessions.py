"""Finding out who is signed in, which strangers may ask as often as they like."""

import json
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.requests import Request

from protos.webhook.v1 import access_pb2 as pb
from services.gateway.console import sessions
from services.gateway.web.callers import ANYBODY, Caller
from services.platform.auth import keys
from services.platform.process.bounds import Refusals


class _Access:
    """The access service, with one session."""

    def __init__(self) -> None:
        self.token = keys.make_session_token()

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

    async def find_session(token: str) -> Caller:
        if token != access.token:
            raise keys.invalid()
        return ANYBODY

    callers: Any = SimpleNamespace(required=True, find_session=find_session)
    endpoint = sessions.route(services, callers, development=False).endpoint

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
