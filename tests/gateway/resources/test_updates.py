"""PATCH, ETag, and If-Match of subscriptions: the requests to ingest, and the responses."""

from typing import Any

import httpx
import pytest

from protos.webhook.v1 import subscriptions_pb2 as pb
from services.platform import errors
from tests.gateway.fakes import Services
from tests.gateway.resources.test_resources import URL, create


async def asked(client: httpx.AsyncClient, services: Services, patch: dict[str, Any]) -> pb.UpdateSubscriptionRequest:
    path = (await create(client)).headers["location"]
    answer = await client.patch(path, json=patch)
    assert answer.status_code == 200, answer.text
    request = services.requests[-1]
    assert isinstance(request, pb.UpdateSubscriptionRequest)
    assert request.HasField("update_mask")
    return request


@pytest.mark.parametrize(
    ("patch", "paths"),
    [
        ({}, []),
        ({"description": "d"}, ["description"]),
        ({"target_url": URL, "verify": "none"}, ["target_url", "verification"]),
        ({"event_types": None, "description": None, "keep_when_disabled": None}, None),
        ({"retry_policy": None}, ["retry_policy"]),
        ({"retry_policy": {"limit": 1, "factor": None}}, ["retry_policy.factor", "retry_policy.limit"]),
        ({"secret_key": None}, ["secret_key"]),
        ({"client_certificate": None, "verification_secrets": None}, ["client_certificate", "verification_secrets"]),
    ],
)
async def test_a_patch_names_what_it_holds(
    client: httpx.AsyncClient, services: Services, patch: dict[str, Any], paths: list[str] | None
) -> None:
    request = await asked(client, services, patch)
    assert sorted(request.update_mask.paths) == (sorted(patch) if paths is None else paths)


async def test_a_patch_merges_headers_and_null_removes_one_or_all(
    client: httpx.AsyncClient, services: Services
) -> None:
    some = await asked(client, services, {"headers": {"X-A": "1", "X-B": None}})
    assert (dict(some.spec.headers.values), some.spec.headers.merge) == ({"X-A": "1", "X-B": ""}, True)
    every = await asked(client, services, {"headers": None})
    assert (dict(every.spec.headers.values), every.spec.headers.merge, every.spec.HasField("headers")) == (
        {},
        False,
        True,
    )


async def test_a_patch_merges_metadata_and_null_removes_one_pair_or_all(
    client: httpx.AsyncClient, services: Services
) -> None:
    some = await asked(client, services, {"metadata": {"team": "sales", "customer": None}})
    assert (dict(some.spec.metadata), some.merge_metadata) == ({"team": "sales", "customer": ""}, True)
    every = await asked(client, services, {"metadata": None})
    assert (dict(every.spec.metadata), every.merge_metadata, list(every.update_mask.paths)) == ({}, False, ["metadata"])


async def test_a_patch_merges_paths_of_tags(client: httpx.AsyncClient, services: Services) -> None:
    some = await asked(client, services, {"tag_paths": {"order": "/data/id", "old": None}})
    assert (dict(some.spec.tag_paths), some.merge_tag_paths) == ({"order": "/data/id", "old": ""}, True)
    every = await asked(client, services, {"tag_paths": None})
    assert (dict(every.spec.tag_paths), every.merge_tag_paths, list(every.update_mask.paths)) == (
        {},
        False,
        ["tag_paths"],
    )


async def test_a_put_replaces_headers(client: httpx.AsyncClient, services: Services) -> None:
    path = (await create(client)).headers["location"]
    assert (await client.put(path, json={"target_url": URL, "headers": {"X-A": "1"}})).status_code == 200
    assert not services.requests[-1].spec.headers.merge


async def test_a_merge_patch_is_taken_by_its_media_type(client: httpx.AsyncClient) -> None:
    path = (await create(client)).headers["location"]
    for media_type, status in (("application/merge-patch+json", 200), ("application/json", 200), ("text/plain", 415)):
        answer = await client.patch(path, content=b'{"description": "d"}', headers={"content-type": media_type})
        assert answer.status_code == status, media_type


@pytest.mark.parametrize(
    ("patch", "field"),
    [({"nope": 1}, "nope"), ({"headers": {"X-A": ""}}, "headers.X-A"), ({"event_types": "a"}, "event_types")],
)
async def test_a_wrong_patch_names_the_field(client: httpx.AsyncClient, patch: dict[str, Any], field: str) -> None:
    path = (await create(client)).headers["location"]
    answer = await client.patch(path, json=patch)
    assert answer.status_code == 422
    assert [found["field"] for found in answer.json()["errors"]] == [field]


@pytest.mark.parametrize(("body", "every"), [({}, False), ({"event_types": []}, True)])
async def test_a_put_says_whether_it_means_every_type(
    client: httpx.AsyncClient,
    services: Services,
    body: dict[str, Any],
    every: bool,  # noqa: FBT001 - a parameter
) -> None:
    path = (await create(client)).headers["location"]
    assert (await client.put(path, json={"target_url": URL, **body})).status_code == 200
    assert services.requests[-1].all_event_types == every


async def test_responses_with_a_subscription_have_its_etag(client: httpx.AsyncClient) -> None:
    created = await create(client)
    path = created.headers["location"]
    answers = [
        created,
        await client.get(path),
        await client.put(path, json={"target_url": URL}),
        await client.patch(path, json={}),
        *[await client.post(f"{path}/{action}") for action in ("pause", "resume", "disable", "enable")],
    ]
    assert [answer.headers.get("etag") for answer in answers] == ['"1"'] * 8


@pytest.mark.parametrize(
    ("if_match", "etags"),
    [('"1"', ["1"]), ("*", []), ('"1" , W/"2",, "3"', ["1", "3"]), ('""', [""])],
)
async def test_etags_of_if_match_are_passed_to_ingest(
    client: httpx.AsyncClient, services: Services, if_match: str, etags: list[str]
) -> None:
    path = (await create(client)).headers["location"]
    headers = {"if-match": if_match}
    for call in (
        client.put(path, json={"target_url": URL}, headers=headers),
        client.patch(path, json={}, headers=headers),
        client.delete(path, headers=headers),
    ):
        assert (await call).status_code in {200, 204}
        assert list(services.requests[-1].etags) == etags


@pytest.mark.parametrize(
    ("if_match", "status"), [("7", 422), ('"7', 422), ("", 422), ('"1", *', 422), ('W/"1"', 412), ("x" * 2000, 422)]
)
async def test_a_wrong_if_match_is_refused_before_anything_is_asked(
    client: httpx.AsyncClient, services: Services, if_match: str, status: int
) -> None:
    path = (await create(client)).headers["location"]
    before = len(services.requests)
    answer = await client.delete(path, headers={"if-match": if_match})
    assert answer.status_code == status, answer.text
    if status == 422:
        assert answer.json()["errors"][0]["field"] == "If-Match"
    assert len(services.requests) == before


async def test_an_old_etag_is_412(client: httpx.AsyncClient, services: Services) -> None:
    path = (await create(client)).headers["location"]
    services.failure = errors.Outdated('it was changed; its ETag is now "2"')
    answer = await client.patch(path, json={}, headers={"if-match": '"1"'})
    assert (answer.status_code, answer.json()["reason"]) == (412, "ETAG_MISMATCH")


async def test_header_if_match_may_be_split_over_several_lines(client: httpx.AsyncClient, services: Services) -> None:
    path = (await create(client)).headers["location"]
    lines = [("If-Match", '"1"'), ("If-Match", 'W/"2", "3"')]
    assert (await client.delete(path, headers=lines)).status_code == 204
    assert list(services.requests[-1].etags) == ["1", "3"]
