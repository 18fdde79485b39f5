"""Payloads as large as MAX_PAYLOAD_BYTES may be."""

import hashlib
import os
from pathlib import Path

import httpx

from dev.harness import stack as stacks
from dev.harness.api import Api
from dev.harness.receiver import Receiver

MOST = 32 << 20


async def test_the_largest_payload_is_accepted_and_delivered_byte_for_byte(
    short_folder: Path, receiver: Receiver
) -> None:
    environment = {"MAX_PAYLOAD_BYTES": str(MOST)}
    body = os.urandom(MOST)
    with stacks.running(short_folder / "large", environment=environment) as stack:
        async with httpx.AsyncClient(base_url=stack.base_url, timeout=60) as http:
            api = Api(http)
            path = f"/api/v1/webhooks/ingest/{await api.subscribe(receiver.url('/hook'))}"
            headers = {"Content-Type": "application/octet-stream"}
            answers = [await http.post(path, content=body, headers=headers) for _ in range(2)]
            assert [answer.status_code for answer in answers] == [202, 202]
            for answer in answers:
                await api.until(answer.json()["delivery_id"], "delivered")
            assert (await http.post(path, content=body + b"x", headers=headers)).status_code == 413
    digest = hashlib.sha256(body).digest()
    assert [hashlib.sha256(request.body).digest() for request in receiver.requests] == [digest] * 2
