"""Ingest and BatchIngest: what is accepted is committed, and what is refused is not stored."""

import asyncio
import gzip
import time
from typing import Any
from uuid import UUID

import pytest

from protos.webhook.v1 import ingest_pb2
from services.domain.secrets import signatures
from services.domain.secrets.signatures import Key
from services.platform import errors, ids
from tests.ingest.conftest import UNSIGNED, Ingest, counted, eventually, fields, refused

PENDING, FILTERED = ingest_pb2.INGEST_STATUS_PENDING, ingest_pb2.INGEST_STATUS_FILTERED
UNKNOWN = "01890a5d-ac96-774b-bcce-b302099a8057"
# The limit of the shared server.
MAX_PAYLOAD_BYTES = 1 << 20


def _at(seconds: float) -> str:
    """Return a UUIDv7 of a time."""
    return str(UUID(int=(int(seconds * 1000) << 80) | (ids.new().int & ((1 << 80) - 1))))


# -- one event --


async def test_an_accepted_event_is_stored_with_its_delivery(ingest: Ingest) -> None:
    made = await ingest.create()
    accepted = await ingest.send(made.id, event_type="order.created", payload=b"[1]")
    assert (accepted.status, accepted.deliveries) == (PENDING, 1)
    (row,) = await ingest.deliveries(accepted.event_id)
    assert (str(row["id"]), str(row["subscription_id"]), row["status"], row["event_type"], row["tenant_id"]) == (
        accepted.delivery_id,
        made.id,
        "pending",
        "order.created",
        ingest.tenant_id,
    )
    assert row["attempt_count"] == row["failure_count"] == row["interrupted_count"] == 0
    assert (row["expires_at"] - row["created_at"]).total_seconds() == 168 * 3600
    event = await ingest.event(accepted.event_id)
    assert (event.id, event.tenant_id, event.event_type, event.content_type, event.payload) == (
        accepted.event_id,
        ingest.tenant_id,
        "order.created",
        "application/json",
        b"[1]",
    )


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\x00",
        b'{"b": 1.0,  "a":\t"\\u2603 \xe2\x98\x83"}\n',
        b"\xff\xfe not text",
        bytes(range(256)) * 16,
        b"x" * MAX_PAYLOAD_BYTES,
    ],
    ids=["empty", "NUL", "JSON as it was written", "not UTF-8", "every byte", "the largest"],
)
async def test_a_payload_is_kept_byte_by_byte(ingest: Ingest, payload: bytes) -> None:
    made = await ingest.create()
    accepted = await ingest.send(made.id, payload=payload, content_type="application/octet-stream")
    event = await ingest.event(accepted.event_id)
    assert event.payload == payload
    assert event.content_type == "application/octet-stream"


async def test_the_event_id_of_the_caller_is_kept(ingest: Ingest) -> None:
    made, event_id = await ingest.create(), str(ids.new())
    accepted = await ingest.send(made.id, event_id=event_id)
    assert accepted.event_id == event_id
    assert UUID(accepted.delivery_id) == ids.of_delivery(UUID(event_id), UUID(made.id))


async def test_an_event_of_an_unwanted_type_is_filtered_and_stored_without_a_delivery(ingest: Ingest) -> None:
    made = await ingest.create(event_types=["order.*"])
    accepted = await ingest.send(made.id, event_type="user.created")
    assert (accepted.status, accepted.deliveries, accepted.delivery_id) == (FILTERED, 0, "")
    assert await ingest.deliveries(accepted.event_id) == []
    assert (await ingest.event(accepted.event_id)).event_type == "user.created"


async def test_an_event_without_a_type_passes_the_filter(ingest: Ingest) -> None:
    made = await ingest.create(event_types=["order.*"])
    accepted = await ingest.send(made.id)
    assert accepted.status == PENDING
    assert (await ingest.event(accepted.event_id)).event_type == ""
    assert (await ingest.deliveries(accepted.event_id))[0]["event_type"] is None


async def test_an_unknown_event_is_not_found_and_neither_is_another_tenants(ingest: Ingest) -> None:
    accepted = await ingest.send((await ingest.create()).id)
    assert isinstance(await refused(ingest.event(UNKNOWN)), errors.NotFound)
    assert isinstance(await refused((await ingest.of("another")).event(accepted.event_id)), errors.NotFound)
    assert "that is a delivery id" in (await refused(ingest.event(accepted.delivery_id))).message
    hidden = await refused((await ingest.of("another")).event(accepted.delivery_id))
    assert hidden.message.endswith("not found")
    assert fields(await refused(ingest.event("\x00"))) == ["event_id"]


# -- fan-out --


async def test_fan_out_without_subscribers_is_filtered_and_stored(ingest: Ingest) -> None:
    await ingest.create(event_types=["user.*"])
    accepted = await ingest.send(event_type="order.created")
    assert (accepted.status, accepted.deliveries, accepted.delivery_id) == (FILTERED, 0, "")
    assert (await ingest.event(accepted.event_id)).event_type == "order.created"


async def test_fan_out_to_one_names_its_delivery(ingest: Ingest) -> None:
    made = await ingest.create()
    accepted = await ingest.send(event_type="order.created")
    (row,) = await ingest.deliveries(accepted.event_id)
    assert (accepted.deliveries, accepted.delivery_id) == (1, str(row["id"]))
    assert str(row["subscription_id"]) == made.id


async def test_fan_out_reaches_exactly_the_subscriptions_that_want_the_type(ingest: Ingest) -> None:
    wanting = [await ingest.create(event_types=types) for types in ([], ["order.*"], ["order.created", "x"])]
    await ingest.create(event_types=["user.*"])
    gone = await ingest.create()
    await ingest.delete(gone.id)
    await (await ingest.of("another")).create()
    accepted = await ingest.send(event_type="order.created", payload=b"once")
    rows = await ingest.deliveries(accepted.event_id)
    assert (accepted.status, accepted.deliveries, accepted.delivery_id) == (PENDING, 3, "")
    assert {str(row["subscription_id"]) for row in rows} == {one.id for one in wanting}
    least, greatest = ids.delivery_range(UUID(accepted.event_id))
    assert all(least <= row["id"] <= greatest for row in rows)
    assert await ingest.count() == 1


async def test_fan_out_needs_a_type(ingest: Ingest) -> None:
    assert fields(await refused(ingest.send())) == ["event_type"]


# -- signatures --


async def test_a_signature_over_the_payload_is_accepted(ingest: Ingest) -> None:
    made = await ingest.create(secret_key="It's a Secret to Everybody")
    signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    accepted = await ingest.send(
        made.id, payload=b"Hello, World!", hub_signature=ingest_pb2.HubSignature(signature=signature)
    )
    assert accepted.status == PENDING


async def test_a_signed_envelope_delivers_its_value(ingest: Ingest) -> None:
    made = await ingest.create(secret_key="It's a Secret to Everybody")
    body = b'{ "payload" : {"a":  1.0} }'
    signed = ingest_pb2.HubSignature(signature=signatures.hub(Key.of("It's a Secret to Everybody"), body))
    accepted = await ingest.send(made.id, payload=body, enveloped=True, hub_signature=signed)
    assert (await ingest.event(accepted.event_id)).payload == b'{"a":  1.0}'
    # The value without its envelope, or another payload, does not match the signature.
    for payload in (b'{"a":  1.0}', b'{"payload": {"a":  2.0}}'):
        for enveloped in (False, True):
            error = await refused(ingest.send(made.id, payload=payload, enveloped=enveloped, hub_signature=signed))
            assert isinstance(error, errors.SignatureMismatch) or fields(error) == ["payload"]
    assert await ingest.count() == 1


@pytest.mark.parametrize(
    ("payload", "more", "field"),
    [
        (b'{"a": 1}', {}, "payload"),
        (b'{"payload": 1, "more": 1}', {}, "payload"),
        (b'{"payload": 1, "payload": 2}', {}, "payload"),
        (b"payload=1", {}, "payload"),
        (b"", {}, "payload"),
        (b'{"payload": 1}', {"content_encoding": "gzip"}, "enveloped"),
    ],
)
async def test_an_envelope_of_another_shape_is_not_opened(
    ingest: Ingest, payload: bytes, more: dict[str, str], field: str
) -> None:
    made = await ingest.create()
    assert fields(await refused(ingest.send(made.id, payload=payload, enveloped=True, **more))) == [field]
    assert await ingest.count() == 0


async def test_an_envelope_requires_one_subscription(ingest: Ingest) -> None:
    error = await refused(ingest.send(event_type="a", payload=b'{"payload": 1}', enveloped=True))
    assert fields(error) == ["enveloped"]


async def test_an_encoded_payload_is_stored_with_its_encoding(ingest: Ingest) -> None:
    made = await ingest.create()
    payload = gzip.compress(b"{}")
    item = ingest.item(made.id, payload=payload, content_encoding="gzip", event_id=str(ids.new()))
    event = await ingest.event((await ingest.send_item(item)).event_id)
    assert (event.payload, event.content_encoding) == (payload, "gzip")
    assert (await ingest.send_item(item)).replayed
    item.content_encoding = "br"
    assert (await refused(ingest.send_item(item))).reason == "EVENT_ID_TAKEN"


@pytest.mark.parametrize("signature", ["", "x", "\x00", "sha256=", "sha256=" + "0" * 64, "☃"])
async def test_a_wrong_signature_is_refused_before_anything_is_stored(ingest: Ingest, signature: str) -> None:
    made = await ingest.create(secret_key="secret-s")
    error = await refused(ingest.send(made.id, hub_signature=ingest_pb2.HubSignature(signature=signature)))
    assert isinstance(error, errors.SignatureMismatch)
    assert error.reason == "SIGNATURE_MISMATCH"
    assert await ingest.count() == 0


async def test_a_signature_is_rejected_if_there_is_no_secret(ingest: Ingest) -> None:
    made = await ingest.create(**UNSIGNED)
    signed = ingest_pb2.HubSignature(signature=signatures.hub(Key.of(""), b"{}"))
    assert isinstance(await refused(ingest.send(made.id, hub_signature=signed)), errors.SignatureMismatch)
    assert await ingest.count() == 0


async def test_a_wrong_signature_is_refused_though_the_type_is_filtered(ingest: Ingest) -> None:
    made = await ingest.create(secret_key="secret-s", event_types=["a"])
    signed = ingest_pb2.HubSignature(signature="sha256=00")
    error = await refused(ingest.send(made.id, event_type="b", hub_signature=signed))
    assert isinstance(error, errors.SignatureMismatch)


async def test_a_signature_on_a_fan_out_is_rejected(ingest: Ingest) -> None:
    await ingest.create(secret_key="secret-s")
    signed = ingest_pb2.HubSignature(signature="sha256=00")
    assert fields(await refused(ingest.send(event_type="a", hub_signature=signed))) == ["hub_signature"]
    assert await ingest.count() == 0


async def test_an_unsigned_event_is_accepted_though_there_is_a_secret(ingest: Ingest) -> None:
    assert (await ingest.send((await ingest.create(secret_key="secret-s")).id)).status == PENDING


# -- what is refused --

BAD_FIELDS: list[tuple[dict[str, Any], str]] = [
    ({"event_id": "x"}, "event_id"),
    ({"event_id": "\x00"}, "event_id"),
    ({"event_id": "9f1c1d1e-5c1e-4d5a-9b1e-0123456789ab"}, "event_id"),
    ({"event_id": "00000000-0000-0000-0000-000000000000"}, "event_id"),
    ({"event_id": "ffffffff-ffff-ffff-ffff-ffffffffffff"}, "event_id"),
    ({"event_type": "a b"}, "event_type"),
    ({"event_type": "a\x00"}, "event_type"),
    ({"event_type": "a" * 129}, "event_type"),
    ({"event_type": "é"}, "event_type"),
    ({"content_type": "text/plain\r\nX-Evil: 1"}, "content_type"),
    ({"content_type": "text/plain\x00"}, "content_type"),
    ({"content_type": "t" * 256}, "content_type"),
    ({"content_type": "é"}, "content_type"),
    ({"content_encoding": "gzip\r\nX-Evil: 1"}, "content_encoding"),
    ({"content_encoding": "g" * 65}, "content_encoding"),
    ({"content_encoding": "gzip,"}, "content_encoding"),
    ({"content_encoding": " "}, "content_encoding"),
    ({"subscription_id": "x"}, "subscription_id"),
    ({"subscription_id": "\x00"}, "subscription_id"),
    ({"subscription_id": ""}, "subscription_id"),
    ({"tenant_id": "\x00"}, "tenant_id"),
    ({"payload": b"x" * (MAX_PAYLOAD_BYTES + 1)}, "payload"),
    ({"idempotency_key": "a\x00"}, "idempotency_key"),
    ({"idempotency_key": "k" * 256}, "idempotency_key"),
]


def _broken(ingest: Ingest, subscription_id: str, changes: dict[str, Any]) -> ingest_pb2.IngestItem:
    item = ingest.item(subscription_id)
    for name, value in changes.items():
        setattr(item, name, value)
    return item


@pytest.mark.parametrize(("changes", "field"), BAD_FIELDS, ids=lambda value: str(value)[:40])
async def test_a_wrong_field_is_named_by_ingest_and_nothing_is_stored(
    ingest: Ingest, changes: dict[str, Any], field: str
) -> None:
    made = await ingest.create()
    error = await refused(ingest.send_item(_broken(ingest, made.id, changes)))
    assert fields(error) == [field]
    assert type(error) is (errors.PayloadTooLarge if field == "payload" else errors.InvalidArgument)
    assert await ingest.count() == 0


async def test_a_batch_names_the_wrong_field_of_each_item_and_accepts_their_neighbours(ingest: Ingest) -> None:
    made = await ingest.create()
    broken = [_broken(ingest, made.id, changes) for changes, _ in BAD_FIELDS]
    results = await ingest.batch(ingest.item(made.id), *broken, ingest.item(made.id))
    assert [result.error.field for result in results[1:-1]] == [field for _, field in BAD_FIELDS]
    assert {result.error.code for result in results[1:-1]} == {3}
    assert [results[0].accepted.status, results[-1].accepted.status] == [PENDING, PENDING]
    assert await ingest.count() == 2


async def test_a_batch_gives_each_refused_item_its_code_and_reason(ingest: Ingest) -> None:
    signed = ingest.item((await ingest.create(secret_key="secret-s")).id)
    signed.hub_signature.signature = "sha256=00"
    no_target = ingest_pb2.IngestItem(tenant_id=ingest.tenant_id)
    results = await ingest.batch(
        ingest.item(UNKNOWN), signed, no_target, ingest.item((await ingest.create()).id, payload=b"x" * (1 << 20 | 1))
    )
    assert [(result.error.code, result.error.reason, result.error.field) for result in results] == [
        (5, "NOT_FOUND", ""),
        (16, "SIGNATURE_MISMATCH", "X-Hub-Signature-256"),
        (3, "INVALID_ARGUMENT", "target"),
        (3, "PAYLOAD_TOO_LARGE", "payload"),
    ]
    assert all(result.error.message for result in results)
    assert await ingest.count() == 0


async def test_an_event_without_a_target_is_refused(ingest: Ingest) -> None:
    assert fields(await refused(ingest.send_item(ingest_pb2.IngestItem(payload=b"x")))) == ["target"]
    assert fields(await refused(ingest.events.Ingest(ingest_pb2.IngestRequest()))) == ["target"]


async def test_an_unknown_subscription_is_not_found(ingest: Ingest) -> None:
    assert isinstance(await refused(ingest.send(UNKNOWN)), errors.NotFound)
    assert await ingest.count() == 0


@pytest.mark.parametrize("offset_seconds", [-310, 310, -86400, 86400 * 30])
async def test_an_event_id_further_than_five_minutes_from_now_is_refused(ingest: Ingest, offset_seconds: int) -> None:
    made = await ingest.create()
    error = await refused(ingest.send(made.id, event_id=_at(time.time() + offset_seconds)))
    assert fields(error) == ["event_id"]


@pytest.mark.parametrize("offset_seconds", [-290, 290])
async def test_an_event_id_within_five_minutes_of_now_is_accepted(ingest: Ingest, offset_seconds: int) -> None:
    made = await ingest.create()
    assert (await ingest.send(made.id, event_id=_at(time.time() + offset_seconds))).status == PENDING


# -- batches --


async def test_a_batch_answers_in_the_order_of_its_items(ingest: Ingest) -> None:
    made = await ingest.create()
    items = [ingest.item(made.id, event_id=str(ids.new()), payload=b"%d" % number) for number in range(100)]
    results = await ingest.batch(*items)
    assert [result.accepted.event_id for result in results] == [item.event_id for item in items]
    assert (await ingest.event(items[42].event_id)).payload == b"42"


async def test_an_empty_batch_has_an_empty_answer(ingest: Ingest) -> None:
    assert await ingest.batch() == []


async def test_a_batch_of_more_than_a_thousand_is_refused_whole(ingest: Ingest) -> None:
    made = await ingest.create()
    assert len(await ingest.batch(*[ingest.item(made.id)] * 1_000)) == 1_000
    before = await ingest.count()
    assert fields(await refused(ingest.batch(*[ingest.item(made.id)] * 1_001))) == ["items"]
    assert await ingest.count() == before


async def test_an_event_id_that_occurs_twice_in_a_batch_is_accepted_once(ingest: Ingest) -> None:
    made, event_id = await ingest.create(), str(ids.new())
    items = [ingest.item(made.id, event_id=event_id, payload=payload) for payload in (b"first", b"second")]
    first, second = await ingest.batch(*items)
    assert first.accepted.event_id == event_id
    assert (second.error.code, second.error.field) == (3, "event_id")
    assert (await ingest.event(event_id)).payload == b"first"


async def test_an_item_whose_data_postgres_refuses_fails_alone(ingest: Ingest) -> None:
    made = await ingest.create()
    await ingest.pool.execute(
        """
        CREATE OR REPLACE FUNCTION refuse_poison() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF NEW.payload = 'poison' THEN RAISE EXCEPTION 'no' USING ERRCODE = 'data_exception'; END IF;
            RETURN NEW;
        END $$
        """
    )
    await ingest.pool.execute(
        "CREATE TRIGGER refuse_poison BEFORE INSERT ON webhook_events FOR EACH ROW EXECUTE FUNCTION refuse_poison()"
    )
    try:
        items = [ingest.item(made.id, payload=payload) for payload in (b"a", b"poison", b"b")]
        results = await ingest.batch(*items)
    finally:
        await ingest.pool.execute("DROP TRIGGER refuse_poison ON webhook_events")
    assert [result.WhichOneof("outcome") for result in results] == ["accepted", "error", "accepted"]
    assert (results[1].error.code, results[1].error.reason) == (13, "INTERNAL")
    assert "poison" not in results[1].error.message
    assert await ingest.count() == 2
    assert await ingest.count("webhook_deliveries") == 2


# -- the same event id again --


async def test_a_repeated_call_is_accepted_and_makes_no_second_delivery(ingest: Ingest) -> None:
    made = await ingest.create()
    item = ingest.item(made.id, event_id=str(ids.new()), event_type="a", payload=b"once")
    first, second = await ingest.send_item(item), await ingest.send_item(item)
    assert (first.replayed, second.replayed) == (False, True)
    assert (first.event_id, first.delivery_id) == (second.event_id, second.delivery_id)
    assert len(await ingest.deliveries(item.event_id)) == 1
    assert await ingest.count() == 1


async def test_repeated_calls_at_the_same_time_are_all_accepted_and_make_one_delivery(ingest: Ingest) -> None:
    made = await ingest.create()
    items = [ingest.item(made.id, event_id=str(ids.new())) for _ in range(20)]
    answers = await asyncio.gather(*(ingest.batch(*items) for _ in range(10)))
    found = [[result.accepted.delivery_id for result in answer] for answer in answers]
    assert all(answer == found[0] for answer in found)
    assert sum(result.accepted.replayed for answer in answers for result in answer) == 9 * len(items)
    assert {result.WhichOneof("outcome") for result in answers[0]} == {"accepted"}
    assert await ingest.count() == len(items)
    assert await ingest.count("webhook_deliveries") == len(items)


async def test_a_repeated_fan_out_is_answered_with_the_deliveries_that_were_made(ingest: Ingest) -> None:
    await ingest.create()
    item = ingest.item(event_id=str(ids.new()), event_type="a")
    first = await ingest.send_item(item)
    await ingest.create()
    again = await ingest.send_item(item)
    assert (again.deliveries, again.delivery_id, again.replayed) == (1, first.delivery_id, True)
    assert len(await ingest.deliveries(item.event_id)) == 1


async def test_batches_with_the_same_ids_in_opposite_orders_do_not_deadlock(ingest: Ingest) -> None:
    made = await ingest.create()
    items = [ingest.item(made.id, event_id=str(ids.new())) for _ in range(3)]
    deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    before = await ingest.pool.fetchval(deadlocks)
    calls: list[asyncio.Future[list[ingest_pb2.IngestResult]]] = []

    async def all_wait() -> bool:
        return bool(await ingest.pool.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted") == len(calls))

    async with ingest.pool.acquire() as connection:
        held = connection.transaction()
        await held.start()
        await connection.execute(
            "INSERT INTO webhook_events (id, tenant_id, content_type, payload) VALUES ($1, $2, '', '')",
            UUID(items[1].event_id),
            ingest.tenant_id,
        )
        # If each took the ids in its own order, each would hold what the other waits for.
        for batch in (items, items[::-1]):
            calls.append(asyncio.ensure_future(ingest.batch(*batch)))
            await eventually(all_wait, "the batch to wait for an id")
        await held.rollback()
    for answer in await asyncio.gather(*calls):
        assert all(result.HasField("accepted") for result in answer)
    assert await ingest.pool.fetchval(deadlocks) == before


@pytest.mark.parametrize(
    "changes",
    [{"payload": b"other"}, {"event_type": "b"}, {"content_type": "text/plain"}],
    ids=lambda one: next(iter(one)),
)
async def test_an_event_id_used_again_for_another_event_is_refused_and_not_said_to_be_accepted(
    ingest: Ingest, changes: dict[str, Any]
) -> None:
    made, event_id = await ingest.create(), str(ids.new())
    await ingest.send(made.id, event_id=event_id, event_type="a", payload=b"first")
    error = await refused(
        ingest.send(made.id, **{"event_id": event_id, "event_type": "a", "payload": b"first", **changes})
    )
    assert isinstance(error, errors.Conflict)
    assert error.reason == "EVENT_ID_TAKEN"
    assert (await ingest.event(event_id)).payload == b"first"


async def test_an_event_id_used_again_for_another_subscription_is_refused(ingest: Ingest) -> None:
    first, second, event_id = await ingest.create(), await ingest.create(), str(ids.new())
    await ingest.send(first.id, event_id=event_id)
    assert isinstance(await refused(ingest.send(second.id, event_id=event_id)), errors.Conflict)
    assert [str(row["subscription_id"]) for row in await ingest.deliveries(event_id)] == [first.id]


async def test_an_event_id_of_another_tenant_is_refused_and_shows_nothing_of_theirs(ingest: Ingest) -> None:
    other = await ingest.of("another")
    theirs, event_id = await other.create(), str(ids.new())
    await other.send(theirs.id, event_id=event_id, payload=b"theirs")
    ours = await ingest.create()
    # Having the same bytes is not enough.
    for payload in (b"ours", b"theirs"):
        error = await refused(ingest.send(ours.id, event_id=event_id, payload=payload))
        assert isinstance(error, errors.Conflict)
        assert "another" not in str(error)
        assert theirs.id not in str(error)
    assert await ingest.count() == await ingest.count("webhook_deliveries") == 0
    assert isinstance(await refused(ingest.event(event_id)), errors.NotFound)
    assert [str(row["subscription_id"]) for row in await other.deliveries(event_id)] == [theirs.id]


async def test_an_event_id_of_another_tenant_is_refused_though_nothing_was_delivered_for_it(ingest: Ingest) -> None:
    other, event_id = await ingest.of("another"), str(ids.new())
    nobody_wants = {"event_id": event_id, "event_type": "wanted.by.nobody"}
    filtering = await other.create(event_types=["something.else"])
    assert (await other.send(filtering.id, **nobody_wants)).status == FILTERED
    filtering = await ingest.create(event_types=["something.else"])
    assert isinstance(await refused(ingest.send(filtering.id, **nobody_wants)), errors.Conflict)


async def test_an_event_id_that_two_tenants_send_in_one_moment_goes_to_one_of_them(ingest: Ingest) -> None:
    other = await ingest.of("another")
    ours, theirs = await ingest.create(), await other.create()
    for _ in range(10):
        event_id = str(ids.new())
        # Enough simultaneous calls that those two wait together.
        calls = [ingest.batch(ingest.item(ours.id)) for _ in range(4)]
        first = ingest.batch(ingest.item(ours.id, event_id=event_id, payload=b"ours"))
        second = other.batch(other.item(theirs.id, event_id=event_id, payload=b"theirs"))
        *_, (mine,), (their,) = await asyncio.gather(*calls, first, second)
        assert {mine.WhichOneof("outcome"), their.WhichOneof("outcome")} == {"accepted", "error"}
        winner, subscription = (ingest, ours) if mine.HasField("accepted") else (other, theirs)
        rows = await winner.deliveries(event_id)
        assert [(str(row["subscription_id"]), row["tenant_id"]) for row in rows] == [
            (subscription.id, winner.tenant_id)
        ]


async def test_events_that_were_accepted_filtered_refused_or_repeated_are_counted_as_such(ingest: Ingest) -> None:
    made = await ingest.create(event_types=["a"])
    names = ["accepted", "filtered", "repeated"]
    before = {name: counted(f"webhook_events_{name}_total") for name in names}
    rejected = counted("webhook_events_rejected_total", reason="NOT_FOUND")
    deliveries = counted("webhook_deliveries_created_total")
    item = ingest.item(made.id, event_id=str(ids.new()), event_type="a")
    await ingest.batch(item, ingest.item(made.id, event_type="b"), ingest.item(UNKNOWN))
    await ingest.batch(item)
    assert {name: counted(f"webhook_events_{name}_total") - before[name] for name in names} == dict.fromkeys(names, 1)
    assert counted("webhook_events_rejected_total", reason="NOT_FOUND") == rejected + 1
    assert counted("webhook_deliveries_created_total") == deliveries + 1


async def test_a_caller_that_leaves_does_not_take_its_event_back(ingest: Ingest) -> None:
    made, event_id = await ingest.create(), str(ids.new())
    async with ingest.pool.acquire() as connection, connection.transaction():
        # Blocks the commit.
        await connection.execute("LOCK TABLE webhook_events IN SHARE MODE")
        call = ingest.events.Ingest(ingest_pb2.IngestRequest(item=ingest.item(made.id, event_id=event_id)))
        waiting = asyncio.ensure_future(call)
        await eventually(ingest.held_up, "the commit to be held up")
        waiting.cancel()
        await asyncio.wait([waiting])

    async def stored() -> bool:
        return len(await ingest.deliveries(event_id)) == 1

    await eventually(stored, "the event to be stored")


# -- tags --


async def test_tags_are_stored_with_their_event_and_no_row_without(ingest: Ingest) -> None:
    made = await ingest.create()
    tagged = await ingest.send(made.id, tags={"order": "42", "customer": "M\u00fcller = Co, Ltd."})
    to_all = await ingest.send(event_type="order.created", tags={"order": "42"}, idempotency_key="k")
    plain = await ingest.send(made.id)
    rows = await ingest.pool.fetch(
        "SELECT event_id, tag FROM event_tags WHERE tenant_id = $1 ORDER BY event_id, tag", ingest.tenant_id
    )
    assert [(str(row["event_id"]), row["tag"]) for row in rows] == [
        (tagged.event_id, "customer=M\u00fcller = Co, Ltd."),
        (tagged.event_id, "order=42"),
        (to_all.event_id, "order=42"),
    ]
    assert dict((await ingest.event(tagged.event_id)).tags) == {"order": "42", "customer": "M\u00fcller = Co, Ltd."}
    assert not (await ingest.event(plain.event_id)).tags
    assert len(await ingest.deliveries(tagged.event_id)) == 1


async def test_tags_of_a_repeated_event_are_stored_once(ingest: Ingest) -> None:
    made, event_id = await ingest.create(), str(ids.new())
    for _ in range(2):
        await ingest.send(made.id, event_id=event_id, tags={"order": "42"})
    keyed = [await ingest.send(made.id, idempotency_key="k", tags={"order": "1", "a": "b"}) for _ in range(2)]
    assert keyed[0].event_id == keyed[1].event_id
    assert keyed[1].replayed
    assert await ingest.count("event_tags") == 3
    for tags in ({}, {"order": "1"}, {"order": "1", "a": "c"}):
        error = await refused(ingest.send(made.id, idempotency_key="k", tags=tags))
        assert error.reason == errors.ErrorReason.IDEMPOTENCY_KEY_REUSED


async def test_events_with_tags_are_committed_beside_others(ingest: Ingest) -> None:
    made = await ingest.create()
    items = [ingest.item(made.id, tags={"n": str(number)} if number % 2 else {}) for number in range(20)]
    results = await ingest.batch(*items, ingest.item(made.id, tags={"n": ""}), ingest.item(tags={"n": "x"}))
    assert [result.WhichOneof("outcome") for result in results] == ["accepted"] * 20 + ["error"] * 2
    assert results[20].error.field == "tags.n"
    for number, result in enumerate(results[:20]):
        tags = dict((await ingest.event(result.accepted.event_id)).tags)
        assert tags == ({"n": str(number)} if number % 2 else {})


@pytest.mark.parametrize(
    ("tags", "field"),
    [
        ({"a b": "1"}, "tags"),
        ({"": "1"}, "tags"),
        ({"k" * 65: "1"}, "tags"),
        ({"order": "1 "}, "tags.order"),
        ({"order": "v" * 256}, "tags.order"),
        ({"order": "a\x00b"}, "tags.order"),
        ({str(number): "1" for number in range(6)}, "tags"),
    ],
    ids=str,
)
async def test_wrong_tags_are_named_and_nothing_is_stored(ingest: Ingest, tags: dict[str, str], field: str) -> None:
    made = await ingest.create()
    assert fields(await refused(ingest.send(made.id, tags=tags))) == [field]
    assert await ingest.count() == 0
