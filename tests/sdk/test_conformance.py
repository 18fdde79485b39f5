"""The Python SDK passes the cases that every SDK passes."""

import base64
import json
from collections.abc import AsyncIterable, Iterable
from typing import Any

import flask
import pytest

from dev.harness.stack import ROOT
from tests.sdk import exchanges
from webhook_service import ApiError, AsyncClient, Client, VerificationFailed, verify
from webhook_service.pulling import AsyncPulled, LeaseExpired, Pulled
from webhook_service.receivers import Received, Receiver
from webhook_service.receivers.flask import webhook

CASES = ROOT / "sdk/conformance"
SCENARIOS = json.loads((CASES / "scenarios.json").read_text())
SIGNATURES = json.loads((CASES / "signatures.json").read_text())
PULLS = json.loads((CASES / "pulls.json").read_text())
RECEIVERS = json.loads((CASES / "receivers.json").read_text())
SAID = {"missing": "is missing", "timestamp": "webhook-timestamp", "signature": "no signature"}


def method(client: Client | AsyncClient, scenario: dict[str, Any]) -> Any:
    resource, name = scenario["call"].split(".")
    return getattr(getattr(client, resource), name)


def check(scenario: dict[str, Any], result: Any) -> None:
    """Compare a result with what is expected of it."""
    if "items" in scenario:
        assert [item.id for item in result] == scenario["items"]
    elif scenario["result"] is None:
        assert result is None
    else:
        assert {name: getattr(result, name) for name in scenario["result"]} == scenario["result"]


def check_error(scenario: dict[str, Any], error: ApiError) -> None:
    """Compare an error with what is expected of it."""
    for name, value in scenario["error"].items():
        found = getattr(error, name)
        assert ([vars(one) for one in found] if name == "errors" else found) == value


@pytest.mark.parametrize("scenario", SCENARIOS, ids=[scenario["name"] for scenario in SCENARIOS])
def test_client_passes_the_scenario(scenario: dict[str, Any]) -> None:
    with exchanges.playing(scenario["exchanges"]) as played, Client(played.url, api_key="whk_test") as client:
        if "error" in scenario:
            with pytest.raises(ApiError) as raised:
                method(client, scenario)(**scenario["arguments"])
            check_error(scenario, raised.value)
        else:
            result = method(client, scenario)(**scenario["arguments"])
            check(scenario, list(result) if isinstance(result, Iterable) and "items" in scenario else result)
        played.check()


@pytest.mark.parametrize("scenario", SCENARIOS, ids=[scenario["name"] for scenario in SCENARIOS])
async def test_async_client_passes_the_scenario(scenario: dict[str, Any]) -> None:
    with exchanges.playing(scenario["exchanges"]) as played:
        async with AsyncClient(played.url, api_key="whk_test") as client:
            if "error" in scenario:
                with pytest.raises(ApiError) as raised:
                    await method(client, scenario)(**scenario["arguments"])
                check_error(scenario, raised.value)
            else:
                result = method(client, scenario)(**scenario["arguments"])
                listed = isinstance(result, AsyncIterable)
                check(scenario, [item async for item in result] if listed else await result)
        played.check()


@pytest.mark.parametrize("case", SIGNATURES, ids=[case["name"] for case in SIGNATURES])
def test_verify_passes_the_case(case: dict[str, Any]) -> None:
    body = base64.b64decode(case["body_base64"])
    if case["valid"]:
        verified = verify(body, case["headers"], case["secrets"], now=case["now"])
        assert verified.id in case["headers"].values()
    else:
        with pytest.raises(VerificationFailed, match=SAID[case["error"]]):
            verify(body, case["headers"], case["secrets"], now=case["now"])


def act(asked: dict[str, Any], delivery: Pulled | AsyncPulled) -> Any:
    """Do with a delivery what the case says."""
    if "payload_base64" in asked:
        assert delivery.payload == base64.b64decode(asked["payload_base64"])
    arguments = [asked[name] for name in ("message", "lease_seconds") if name in asked]
    return getattr(delivery, asked["action"])(*arguments)


def check_pull(asked: dict[str, Any], played: exchanges.Exchanges, error: Exception | None) -> None:
    """Compare what a consumer did with what is expected of it."""
    if "error" in asked:
        assert isinstance(error, ApiError)
        check_error(asked, error)
    else:
        assert isinstance(error, LeaseExpired) if asked.get("lease_expired") else error is None
    for request in played.received:
        sent = json.loads(request["body"])
        for result in sent.get("results", ()):
            result.pop("duration_ms", None)
        request["body"] = json.dumps(sent)
    played.check()


@pytest.mark.parametrize("asked", PULLS, ids=[asked["name"] for asked in PULLS])
def test_consumer_passes_the_case(asked: dict[str, Any]) -> None:
    raised = None
    with exchanges.playing(asked["exchanges"]) as played, Client(played.url, api_key="whk_test") as client:
        try:
            act(asked, next(client.pull(asked["subscription_id"])))
        except (ApiError, LeaseExpired) as error:
            raised = error
        check_pull(asked, played, raised)


@pytest.mark.parametrize("asked", PULLS, ids=[asked["name"] for asked in PULLS])
async def test_async_consumer_passes_the_case(asked: dict[str, Any]) -> None:
    raised = None
    with exchanges.playing(asked["exchanges"]) as played:
        async with AsyncClient(played.url, api_key="whk_test") as client:
            try:
                await act(asked, await anext(client.pull(asked["subscription_id"])))
            except (ApiError, LeaseExpired) as error:
                raised = error
        check_pull(asked, played, raised)


@pytest.mark.parametrize("asked", RECEIVERS, ids=[asked["name"] for asked in RECEIVERS])
def test_receiver_passes_the_case(asked: dict[str, Any]) -> None:
    called: list[str] = []
    app = flask.Flask("receiver")
    receiver = Receiver(asked["secret"], tolerance_seconds=100 * 365 * 86400)

    @webhook(app, "/hook", receiver)
    def handle(received: Received) -> None:
        called.append(received.id)
        assert (received.event_type, received.attempt) == ("order.created", 2)
        if request["handler"] == "fails":
            raise RuntimeError("the database is away")

    for request in asked["requests"]:
        called.clear()
        body = base64.b64decode(request["body_base64"])
        response = app.test_client().post("/hook", data=body, headers=request["headers"])
        assert response.status_code == request["status"]
        assert bool(called) == (request["handler"] != "not called")
        assert response.text == request.get("text", response.text)
