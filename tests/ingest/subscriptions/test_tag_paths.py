"""Tags that a subscription finds in what is sent to it."""

import json
from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from hypothesis import given
from hypothesis import strategies as st

from services.domain import events
from services.ingest.subscriptions import tag_paths
from services.ingest.subscriptions.tag_paths import TagPaths
from tests.ingest.conftest import Ingest, fields, refused

PAYLOAD = """ {"id": "evt_1", "list": [0, {"id": "second"}, "x"], "a/b": {"c~d": true, "": "empty key"},
 "data": {"object": {"id": "pi_1", "amount": 9.90, "big": 12345678901234567890123, "none": null,
                     "M\u00fcller": "\\u00e9"}},
 "id2": "  spaced ", "long": "LONG", "off": false, "lone": "\\ud83d", "0": "zero"}""".replace("LONG", "x" * 256)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("/id", "evt_1"),
        ("/data/object/id", "pi_1"),
        ("/data/object/amount", "9.90"),
        ("/data/object/big", "12345678901234567890123"),
        ("/data/object/M\u00fcller", "\u00e9"),
        ("/list/1/id", "second"),
        ("/list/0", "0"),
        ("/list/2", "x"),
        ("/0", "zero"),
        ("/a~1b/c~0d", "true"),
        ("/a~1b/", "empty key"),
        ("/id2", "spaced"),
        ("/off", "false"),
        ("/lone", "\ufffd"),
        *((path, None) for path in ("/data/object/none", "/data/object", "/list", "/list/3", "/list/-1", "/list/01")),
        *((path, None) for path in ("/list/id", "/id/x", "/nothing", "/long", "/data/object/id/x")),
    ],
)
def test_a_path_finds_strings_numbers_and_booleans(path: str, value: str | None) -> None:
    expected = {} if value is None else {"key": value}
    for text in (PAYLOAD, "\ufeff" + PAYLOAD):
        assert TagPaths({"key": path}).tags(text.encode()) == expected
    assert TagPaths({"key": path, "id": "/id", "same": path}).tags(PAYLOAD.encode()) == {
        **expected,
        "id": "evt_1",
        **({} if value is None else {"same": value}),
    }


@pytest.mark.parametrize(
    "payload",
    [b"", b"{", b"[]", b"1", b'"a"', b"null", b"\xff\xfe", b"a=1&b=2", b'{"a": 1}', b'{"a": {"b": 1}', b"[" * 100_000],
)
def test_a_payload_without_what_is_wanted_has_no_tags(payload: bytes) -> None:
    assert TagPaths({"key": "/a/b"}).tags(payload) == {}


def test_what_is_beside_a_path_keeps_nothing_from_being_found() -> None:
    deep = "[" * 2_000 + "]" * 2_000
    text = f'{{"deep": {deep}, "a": {{"b": 1}}, "bad": "'.encode() + b'\xff", "a2": 2}'
    assert TagPaths({"key": "/a2", "other": "/a/b"}).tags(text) == {"key": "2", "other": "1"}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["a", "b", "0", "1", ""]), inner),
    max_leaves=12,
)
STEPS = st.lists(st.sampled_from(["a", "b", "0", "1", ""]), min_size=1, max_size=4)


def _at(value: Any, steps: list[str]) -> Any:
    for step in steps:
        if isinstance(value, dict) and step in value:
            value = value[step]
        elif isinstance(value, list) and step.isdecimal() and int(step) < len(value):
            value = value[int(step)]
        else:
            return None
    return value


@given(JSON, st.lists(STEPS, min_size=1, max_size=5))
def test_paths_find_what_a_parser_does(value: Any, paths: list[list[str]]) -> None:
    expected = {}
    for number, steps in enumerate(paths):
        at = _at(value, steps)
        text = at.strip() if isinstance(at, str) else json.dumps(at) if isinstance(at, bool | int) else ""
        if events.is_valid_tag_value(text):
            expected[str(number)] = text
    found = TagPaths({str(number): "/" + "/".join(steps) for number, steps in enumerate(paths)})
    assert found.tags(json.dumps(value).encode()) == expected


@pytest.mark.parametrize(
    ("paths", "field"),
    [
        ({"order": ""}, "tag_paths.order"),
        ({"order": "id"}, "tag_paths.order"),
        ({"order": "/a~2"}, "tag_paths.order"),
        ({"order": '/a"'}, "tag_paths.order"),
        ({"order": "/a\\b"}, "tag_paths.order"),
        ({"order": "/a\n"}, "tag_paths.order"),
        ({"order": "/a" * 11}, "tag_paths.order"),
        ({"order": "/" + "a" * 255}, "tag_paths.order"),
        ({"a b": "/id"}, "tag_paths"),
        ({str(number): "/id" for number in range(6)}, "tag_paths"),
    ],
    ids=str,
)
async def test_a_wrong_path_is_named(ingest: Ingest, paths: dict[str, str], field: str) -> None:
    assert fields(await refused(ingest.create(tag_paths=paths))) == [field]
    assert [violation.field for violation in tag_paths.violations(paths)] == [field]


async def test_webhooks_have_the_tags_of_their_payloads_and_of_their_sender(ingest: Ingest) -> None:
    made = await ingest.create(tag_paths={"order": "/data/id", "customer": "/customer"})
    payload = b'{"data": {"id": 42}, "customer": "acme"}'
    for sent, expected in (
        ({"payload": payload}, {"order": "42", "customer": "acme"}),
        ({"payload": b'{"payload": %b}' % payload, "enveloped": True}, {"order": "42", "customer": "acme"}),
        ({"payload": payload, "tags": {"order": "own", "x": "y"}}, {"order": "own", "customer": "acme", "x": "y"}),
        ({"payload": b'{"data": {}}'}, {}),
        ({"payload": b"no JSON", "content_type": "text/plain"}, {}),
        ({"payload": payload, "content_encoding": "gzip"}, {}),
    ):
        accepted = await ingest.send(made.id, **sent)
        assert dict((await ingest.event(accepted.event_id)).tags) == expected
    to_all = await ingest.send(event_type="a", payload=payload)
    assert not (await ingest.event(to_all.event_id)).tags


async def test_a_repeated_webhook_is_the_same_whatever_the_paths_are_now(ingest: Ingest) -> None:
    made = await ingest.create(tag_paths={"order": "/id"})
    sent = {"payload": b'{"id": 1}', "idempotency_key": "k"}
    first = await ingest.send(made.id, **sent)
    await ingest.update(made.id, tag_paths={"other": "/id"})
    again = await ingest.send(made.id, **sent)
    assert (again.event_id, again.replayed) == (first.event_id, True)
    assert dict((await ingest.event(first.event_id)).tags) == {"order": "1"}
    later = await ingest.send(made.id, payload=b'{"id": 2}')
    assert dict((await ingest.event(later.event_id)).tags) == {"other": "2"}


async def test_paths_are_shown_merged_replaced_and_removed(ingest: Ingest) -> None:
    made = await ingest.create(tag_paths={"a": "/a", "b": "/b"})
    assert dict(made.spec.tag_paths) == {"a": "/a", "b": "/b"}
    assert (await ingest.get(made.id)).spec == made.spec
    mask = FieldMask(paths=["tag_paths"])
    change = ingest.change(made.id, update_mask=mask, merge_tag_paths=True, tag_paths={"a": "", "c": "/c"})
    merged = (await ingest.subscriptions.UpdateSubscription(change)).subscription
    assert dict(merged.spec.tag_paths) == {"b": "/b", "c": "/c"}
    change = ingest.change(made.id, update_mask=mask, tag_paths={"d": "/d"})
    assert dict((await ingest.subscriptions.UpdateSubscription(change)).subscription.spec.tag_paths) == {"d": "/d"}
    assert not (await ingest.update(made.id)).spec.tag_paths
    entries = await ingest.pool.fetch("SELECT changes FROM audit_entries WHERE resource_id = $1 ORDER BY id", made.id)
    told = [change for entry in entries for change in json.loads(entry["changes"]) if change["field"] == "tag_paths"]
    assert [(change.get("before"), change.get("after")) for change in told] == [
        (None, {"a": "/a", "b": "/b"}),
        ({"a": "/a", "b": "/b"}, {"b": "/b", "c": "/c"}),
        ({"b": "/b", "c": "/c"}, {"d": "/d"}),
        ({"d": "/d"}, None),
    ]
