"""The Python SDK passes the cases that every SDK passes."""

import base64
import json
from collections.abc import AsyncIterable, Iterable
from typing import Any

import pytest

from dev.harness.stack import ROOT
from tests.sdk import exchanges
from webhook_service import ApiError, AsyncClient, Client, VerificationFailed, verify

CASES = ROOT / "sdk/conformance"
SCENARIOS = json.loads((CASES / "scenarios.json").read_text())
SIGNATURES = json.loads((CASES / "signatures.json").read_text())
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
