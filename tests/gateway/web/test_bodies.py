"""How long a body may take to arrive."""

import asyncio
from typing import Any

import pytest

from services.gateway.web import problems, routing
from services.platform import clock

PIECE_SECONDS = 0.1


def sending(pieces: int, piece: bytes) -> Any:
    """A client whose body comes in pieces, the first at once."""
    left = pieces

    async def receive() -> dict[str, Any]:
        nonlocal left
        if left < pieces:
            await asyncio.sleep(PIECE_SECONDS)
        left -= 1
        return {"type": "http.request", "body": piece, "more_body": left > 0}

    return receive


async def test_a_body_has_more_time_as_more_of_it_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routing, "UPLOAD_TIMEOUT_SECONDS", 0.25)
    monkeypatch.setattr(clock, "UPLOAD_BYTES_PER_SECOND", 1000)
    body = await routing.read({"headers": []}, sending(8, b"x" * 500), 10_000)
    assert body == b"x" * 4000
    with pytest.raises(problems.RequestTimeout):
        await routing.read({"headers": []}, sending(8, b"x"), 10_000)


def test_only_large_payloads_have_more_time() -> None:
    assert [clock.extra_seconds(size) for size in (0, 1 << 20, 5 << 20, 33 << 20)] == [0, 0, 1, 8]
