"""Headers of a subscription's own: stored for the workers, and shown to nobody."""

from uuid import UUID

import pytest

from dev.harness.keys import vault
from protos.webhook.v1 import subscriptions_pb2
from services.platform import errors
from tests.ingest.conftest import Ingest, fields, refused

Headers = subscriptions_pb2.CustomHeaders
VALUES = {"Authorization": "Bearer hunter2", "x-shop": "hunter2"}


async def stored(ingest: Ingest, subscription_id: str) -> dict[str, str]:
    """What the workers will read."""
    query = "SELECT sealed_headers FROM subscriptions WHERE id = $1::text::uuid"
    sealed = await ingest.pool.fetchval(query, subscription_id)
    assert sealed is None or b"hunter2" not in sealed
    return dict(vault().headers(UUID(subscription_id), sealed))


async def test_answers_have_the_names_and_no_values(ingest: Ingest) -> None:
    made = await ingest.create(headers=Headers(values=VALUES), idempotency_key="k")
    again = await ingest.create(headers=Headers(values=VALUES), idempotency_key="k")
    changed = await ingest.update(made.id)
    (listed,) = (await ingest.page()).subscriptions
    for answer in (made, again, changed, listed, await ingest.get(made.id)):
        assert (answer.id, list(answer.status.header_names)) == (made.id, ["Authorization", "x-shop"])
        assert b"hunter2" not in answer.SerializeToString()
    assert await stored(ingest, made.id) == VALUES


async def test_an_update_keeps_replaces_or_removes_them(ingest: Ingest) -> None:
    made = await ingest.create(headers=Headers(values=VALUES))
    assert list((await ingest.update(made.id, description="other")).status.header_names) == ["Authorization", "x-shop"]
    assert list((await ingest.update(made.id, headers=Headers(values={"A": "b"}))).status.header_names) == ["A"]
    assert await stored(ingest, made.id) == {"A": "b"}
    assert list((await ingest.update(made.id, headers=Headers())).status.header_names) == []
    assert await stored(ingest, made.id) == {}
    assert list((await ingest.get(made.id)).status.header_names) == []


async def test_those_that_are_kept_go_to_no_other_host_than_they_were_given_for(ingest: Ingest) -> None:
    made = await ingest.create("https://partner.example/a", headers=Headers(values=VALUES))
    for elsewhere in ("https://evil.example/a", "http://partner.example/a", "https://partner.example:8443/a"):
        error = await refused(ingest.update(made.id, elsewhere))
        assert isinstance(error, errors.InvalidArgument)
        assert fields(error) == ["headers"]
    assert (await ingest.get(made.id)).spec.target_url == "https://partner.example/a"
    await ingest.update(made.id, "https://PARTNER.example/b?c")
    assert await stored(ingest, made.id) == VALUES
    await ingest.update(made.id, "https://other.example/", headers=Headers(values={"A": "b"}))
    assert await stored(ingest, made.id) == {"A": "b"}
    await ingest.update(made.id, "https://third.example/", headers=Headers())
    assert await stored(ingest, made.id) == {}
    await ingest.update(made.id, "https://fourth.example/")


async def test_those_that_were_given_at_the_same_time_do_not_go_along(ingest: Ingest) -> None:
    made = await ingest.create("https://partner.example/")
    given = ingest.update(made.id, "https://partner.example/", headers=Headers(values=VALUES))
    elsewhere = ingest.update(made.id, "https://evil.example/")
    _, error = await ingest.in_turn(made.id, given, elsewhere)
    assert error
    assert fields(error) == ["headers"]
    found = await ingest.get(made.id)
    assert (found.spec.target_url, list(found.status.header_names)) == (
        "https://partner.example/",
        ["Authorization", "x-shop"],
    )


async def test_a_deleted_subscription_has_none(ingest: Ingest) -> None:
    made = await ingest.create(headers=Headers(values=VALUES))
    await ingest.delete(made.id)
    assert await stored(ingest, made.id) == {}


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"webhook-id": "hunter2"}, "headers.webhook-id"),
        ({"Host": "hunter2"}, "headers.Host"),
        ({"X": "hunter2\r\nY: z"}, "headers.X"),
        ({"X: a\r\nY": "hunter2"}, "headers"),
    ],
)
async def test_what_may_not_be_sent_is_refused_and_not_repeated(
    ingest: Ingest, values: dict[str, str], field: str
) -> None:
    made = await ingest.create()
    for call in (
        ingest.create(headers=Headers(values=values)),
        ingest.update(made.id, headers=Headers(values=values)),
    ):
        error = await refused(call)
        assert isinstance(error, errors.InvalidArgument)
        assert fields(error) == [field]
        assert "hunter2" not in error.message
    assert await ingest.count("subscriptions") == 1
