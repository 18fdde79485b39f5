"""Headers of a subscription's own, over REST."""

from typing import Any

import httpx
import pytest

from tests.gateway.fakes import Services

SUBSCRIPTIONS = "/api/v1/subscriptions"
BODY = {"target_url": "https://example.com/"}


async def test_they_go_through_and_answers_have_their_names(client: httpx.AsyncClient, services: Services) -> None:
    headers = {"X-B": "hunter2", "A": "hunter2"}
    created = await client.post(SUBSCRIPTIONS, json=BODY | {"headers": headers})
    assert (created.status_code, created.json()["header_names"]) == (201, ["A", "X-B"])
    assert "hunter2" not in created.text
    assert dict(services.requests[-1].spec.headers.values) == headers


@pytest.mark.parametrize(
    ("body", "given", "values"),
    [
        ({}, False, {}),
        ({"headers": None}, True, {}),
        ({"headers": {}}, True, {}),
        ({"headers": {"A": "b"}}, True, {"A": "b"}),
    ],
    ids=["absent keeps", "null removes", "empty removes", "replaces"],
)
async def test_an_update_says_what_becomes_of_them(
    client: httpx.AsyncClient,
    services: Services,
    body: dict[str, Any],
    given: bool,  # noqa: FBT001 - a parameter
    values: dict[str, str],
) -> None:
    path = (await client.post(SUBSCRIPTIONS, json=BODY)).headers["location"]
    assert (await client.put(path, json=BODY | body)).status_code == 200
    assert services.requests[-1].spec.HasField("headers") is given
    assert dict(services.requests[-1].spec.headers.values) == values


@pytest.mark.parametrize("headers", [[], "A: b", {"A": 1}, {"A": None}, {"A": ["b"]}, {"A": ""}])
async def test_what_is_no_map_of_texts_is_refused(
    client: httpx.AsyncClient, services: Services, headers: object
) -> None:
    answer = await client.post(SUBSCRIPTIONS, json=BODY | {"headers": headers})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"].startswith("headers")
    assert services.requests == []
