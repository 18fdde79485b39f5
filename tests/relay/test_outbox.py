"""webhook_outbox.sql: what applications can publish, and who may do what."""

import json
import re
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from services.domain import event_versions, events
from services.platform.auth import identity
from tests.relay.conftest import OUTBOX_SQL, Outbox


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        ("$2::text", b'{"b": 1,  "a": "\xc3\xa9"}'),
        ("$2", b'{"b": 1,  "a": "\xc3\xa9"}'),
        ("$2::text::json", b'{"b": 1,  "a": "\xc3\xa9"}'),
        ("$2::text::jsonb", b'{"a": "\xc3\xa9", "b": 1}'),
        ("convert_to($2::text, 'LATIN1')", b'{"b": 1,  "a": "\xe9"}'),
    ],
    ids=["text", "untyped", "json", "jsonb", "bytea"],
)
async def test_a_payload_is_kept_as_its_type_has_it(outbox: Outbox, payload: str, expected: bytes) -> None:
    await outbox.connection.execute("SELECT 1")
    statement = f"SELECT webhook_publish($1, {payload})"
    row_id = await outbox.connection.fetchval(statement, "order.created", '{"b": 1,  "a": "é"}')
    (row,) = await outbox.rows()
    assert (row["id"], row["payload"]) == (row_id, expected)


async def test_what_is_rolled_back_is_not_published(outbox: Outbox) -> None:
    transaction = outbox.connection.transaction()
    await transaction.start()
    await outbox.publish("order.created")
    await transaction.rollback()
    assert await outbox.empty()


async def test_tags_may_be_numbers_which_become_text(outbox: Outbox) -> None:
    await outbox.publish("order.created", tags='{"order": 42, "shop": "acme"}')
    (row,) = await outbox.rows()
    assert json.loads(row["tags"]) == {"order": "42", "shop": "acme"}


TEXTS = (
    "",
    "a",
    "a b",
    "é",
    "a\n",
    "a" * 64,
    "a" * 65,
    "a" * 128,
    "a" * 129,
    "a" * 255,
    "a" * 256,
    "a:b/c-d.e_f",
    " a",
    "A",
)


def takes(column: str, text: str) -> bool:
    """Return whether the service takes a text."""
    if column == "event_type":
        return events.is_valid_type(text)
    if column == "tenant_id":
        return identity._ID.fullmatch(text) is not None
    if column == "tag_key":
        return events.is_valid_tag_key(text)
    if column == "tag_value":
        return events.is_valid_tag_value(text)
    return events.is_valid_text(text)


@pytest.mark.parametrize(
    "column", ["event_type", "content_type", "idempotency_key", "tenant_id", "tag_key", "tag_value"]
)
async def test_the_table_takes_what_the_service_takes(outbox: Outbox, column: str) -> None:
    for text in TEXTS:
        fields: dict[str, Any] = {column: text}
        if column.startswith("tag_"):
            fields = {"tags": json.dumps({text: "a"} if column == "tag_key" else {"a": text})}
        try:
            await outbox.publish(fields.pop("event_type", "order.created"), **fields)
            taken = True
        except asyncpg.CheckViolationError:
            taken = False
        assert taken == takes(column, text), text


async def test_a_row_has_a_target_and_few_tags(outbox: Outbox) -> None:
    with pytest.raises(asyncpg.CheckViolationError, match="has_target"):
        await outbox.publish(None)  # type: ignore[arg-type]
    with pytest.raises(asyncpg.CheckViolationError, match="webhook_outbox_tags"):
        await outbox.publish("a", tags=json.dumps({str(number): "a" for number in range(6)}))
    with pytest.raises(asyncpg.CheckViolationError, match="webhook_outbox_tags"):
        await outbox.publish("a", tags='{"a": null}')
    await outbox.publish(None, subscription_id="019ced6f-8a27-7c3e-9b1a-5d0f4e2c7b61")  # type: ignore[arg-type]


async def test_a_version_is_one_that_the_service_takes_and_of_a_type(outbox: Outbox) -> None:
    least, most = int(event_versions.NUMBER.least), int(event_versions.NUMBER.most)
    for version in (least, most):
        await outbox.publish("order.created", event_version=version)
    subscription_id = "019ced6f-8a27-7c3e-9b1a-5d0f4e2c7b61"
    for event_type, fields in (
        ("order.created", {"event_version": least - 1}),
        ("order.created", {"event_version": most + 1}),
        (None, {"event_version": 1, "subscription_id": subscription_id}),
    ):
        with pytest.raises(asyncpg.CheckViolationError, match="webhook_outbox_event_version"):
            await outbox.publish(event_type, **fields)  # type: ignore[arg-type]
    assert [row["event_version"] for row in await outbox.rows()] == [least, most]


async def test_the_file_can_be_run_again_and_in_a_schema(outbox: Outbox) -> None:
    await outbox.publish("order.created")
    await outbox.owner.execute(OUTBOX_SQL)
    assert len(await outbox.rows()) == 1
    await outbox.owner.execute(
        f"CREATE SCHEMA hooks; SET search_path TO hooks; {OUTBOX_SQL}; SET search_path TO public"
    )
    # The function finds its own table, whatever the search path of who calls it.
    await outbox.owner.execute("SELECT hooks.webhook_publish('order.created', '{}')")
    assert await outbox.owner.fetchval("SELECT count(*) FROM hooks.webhook_outbox") == 1
    assert len(await outbox.rows()) == 1


async def test_each_role_may_do_what_it_needs_and_no_more(outbox: Outbox) -> None:
    relay = await asyncpg.connect(outbox.relay_url)
    try:
        await outbox.publish("order.created")
        for statement in (
            "INSERT INTO webhook_outbox (event_type, payload) VALUES ('a', '')",
            "UPDATE webhook_outbox SET payload = ''",
            "TRUNCATE webhook_outbox",
            "CREATE TABLE public.more ()",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await relay.execute(statement)
        for statement in ("SELECT payload FROM webhook_outbox", "DELETE FROM webhook_outbox"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await outbox.connection.execute(statement)
    finally:
        await relay.close()
    assert urlsplit(outbox.relay_url).username != urlsplit(outbox.owner_url).username


def test_the_file_can_be_passed_to_sqlalchemys_text() -> None:
    """Alembic's op.execute() takes a name after a colon for a parameter."""
    assert not re.findall(r"(?<![:\w\\]):(\w+)(?!:)", OUTBOX_SQL)
