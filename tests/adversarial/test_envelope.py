"""Bodies in any spelling are accepted and refused like the standard library's parser does, and kept byte for byte."""

import json
import re
from datetime import UTC, datetime
from typing import Any, NoReturn

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.domain import events
from services.gateway.accept import envelope
from services.platform import errors
from tests.adversarial.calls import changed, changes
from tests.adversarial.conftest import Examples, Tally

JSON = b"application/json"
EVENT_TYPE = re.compile(r"[A-Za-z0-9._/:-]{1,128}")
IDEMPOTENCY_KEY = re.compile(r"[ -~]{1,255}")
TAG_KEY = re.compile(r"[A-Za-z0-9._-]{1,64}")
# Valid ones, as many as an event may have.
SENT_TAGS = st.dictionaries(
    st.sampled_from(["order", "a.b-c_d", "0", "x" * 64, "payload", "tags"]),
    st.sampled_from(["42", "a, b", '"}', "\\", "é😀", "=", "v" * 255]),
    max_size=5,
)
# Around a payload.
AROUND = [
    *(b"%b", b'{"payload": %b}', b'{"event_type": "a.b", "payload": %b}'),
    *(b'{"tags": {"a": "1"}, "event_type": "a.b", "payload": %b}', b'{"payload": %b, "tags": %b, "event_type": "a.b"}'),
]
KEYS = st.sampled_from(["payload", "event_type", "a", "", "é", "\x00", "😀"])
PAYLOAD_KEYS = st.sampled_from(['"payload"', '"p\\u0061yload"'])
TYPE_KEYS = st.sampled_from(['"event_type"', '"event\\u005Ftype"'])
IDEMPOTENCY_KEYS = st.sampled_from(['"idempotency_key"', '"idempotenc\\u0079_key"'])
BOM = b"\xef\xbb\xbf"
SPACES = st.text(" \t\r\n", max_size=2)
# Spellings that a parser would normalize, all of which must be kept.
SPELLINGS = st.sampled_from(
    [
        *("0", "-0", "1.0", "1E5", "1e-07", "1e400", "-0.0", "9" * 400, "0.1e+1", "true", "false", "null"),
        *(
            '""',
            '"payload"',
            r'"\u0000"',
            r'"\/"',
            r'"\ud83d\ude00"',
            r'"\ud83d"',
            r'"\udc00\ud800"',
            r'"\\ud800"',
            r'"\"}"',
        ),
    ]
)


@st.composite
def spelt(draw: st.DrawFn, depth: int = 3) -> str:
    """Generate a JSON text, with any valid spacing and spelling."""
    kind = draw(st.integers(0, 3 if depth else 1))
    if kind == 0:
        return draw(SPELLINGS)
    if kind == 1:
        return json.dumps(draw(st.text(max_size=10)), ensure_ascii=draw(st.booleans()))
    items = draw(st.lists(spelt(depth=depth - 1), max_size=3))
    spaced = [draw(SPACES) + item + draw(SPACES) for item in items]
    if kind == 2:
        return "[" + (",".join(spaced) or draw(SPACES)) + "]"
    keys = [draw(SPACES) + json.dumps(draw(KEYS)) + draw(SPACES) for _ in spaced]
    return "{" + ",".join(f"{key}:{item}" for key, item in zip(keys, spaced, strict=True)) + "}"


TEXTS = spelt().map(str.encode)
SMALL_CHANGES = changes(
    *(b'"', b"{", b"}", b"[", b"]", b",", b":", b"\\", b"\\u", b"\x00", b"\xff", b"\xed\xa0\x80", b"\xef\xbb\xbf"),
    *(b"NaN", b"-", b"+1", b"01", b"1.", b".5", b"e", b"//", b"'", b"\x0c", b"\xc2\xa0", b'"payload":1,', b"\n"),
    most=3,
)


class Pairs(list[tuple[str, Any]]):
    """Return an object with its keys in order, including repeated ones."""


class Number(str):
    """Return a number as it is spelled."""

    __slots__ = ()


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


def parsed(body: bytes) -> Any:
    """Return what the standard library reads in a JSON text in UTF-8; ValueError if it is invalid."""
    return json.loads(
        body.decode(), parse_constant=_refuse, parse_int=Number, parse_float=Number, object_pairs_hook=Pairs
    )


def is_json(body: bytes) -> bool:
    """Return the value as the standard library reads it."""
    try:
        parsed(body)
    except ValueError:
        return False
    return True


@pytest.fixture
def many(examples: Examples) -> settings:
    """Return the settings of a property test."""
    return settings(max_examples=examples(300, 10_000), deadline=None, derandomize=True, database=None)


def check_webhook(body: bytes) -> None:
    """Check that a webhook is accepted if and only if it is unambiguous JSON, and that its payload is unchanged.

    A body that is empty or begins with a byte order mark is delivered as a whole.
    """
    marked = body.startswith(BOM)
    if not body or (marked and is_json(body.removeprefix(BOM))):
        assert envelope.webhook(body, JSON) == envelope.Payload(body, "application/json", enveloped=False)
        return
    found: Any = parsed(body) if is_json(body) else None
    keys = [key for key, _ in found] if isinstance(found, Pairs) else []
    wrapped = set(keys) == {"payload"}
    if not is_json(body) or (wrapped and len(keys) > 1):
        with pytest.raises(errors.InvalidArgument):
            envelope.webhook(body, JSON)
        return
    cut = envelope.webhook(body, JSON)
    assert cut.enveloped == wrapped
    if wrapped:
        before, _, after = body.partition(cut.payload)
        assert parsed(cut.payload) == found[0][1]
        assert cut.payload == cut.payload.strip(b" \t\r\n")
        assert before + cut.payload + after == body
    else:
        assert cut.payload == body


def are_tags(value: Any) -> bool:
    """Return whether this can be the tags of an event."""
    if value is None:
        return True
    if not isinstance(value, Pairs):
        return False
    tags: dict[str, Any] = dict(value)
    return len(tags) <= events.MAX_TAGS and all(
        TAG_KEY.fullmatch(key) and type(text) is str and events.is_valid_tag_value(text) for key, text in tags.items()
    )


def check_event(body: bytes) -> None:
    """Check that an event is accepted if and only if it is JSON with both keys once, and its type is valid."""
    found: Any = parsed(body) if is_json(body) else None
    members = dict(found) if isinstance(found, Pairs) else {}
    keys = sorted(key for key, _ in found) if isinstance(found, Pairs) else []
    whole = keys in (["event_type", "payload"], ["event_type", "payload", "tags"]) and are_tags(members.get("tags"))
    event_type = members.get("event_type")
    if not (whole and type(event_type) is str and EVENT_TYPE.fullmatch(event_type)):
        with pytest.raises(errors.InvalidArgument):
            envelope.event(body, JSON)
        return
    taken, payload, *_ = envelope.event(body, JSON)
    assert taken == event_type
    assert parsed(payload) == members["payload"]
    assert payload in body


def test_payloads_in_any_spelling_are_extracted_from_envelopes_and_events_unchanged(
    many: settings, tally: Tally
) -> None:
    @many
    @given(TEXTS, SPACES, SPACES, PAYLOAD_KEYS, TYPE_KEYS, st.sampled_from([1, -1]))
    def check(text: bytes, a: str, b: str, payload_key: str, type_key: str, order: int) -> None:
        tally.add("envelopes", 2)
        expected: tuple[Any, ...] = ("order.created", text, {}, "", None, 0)
        payload = f"{payload_key}{a}:{b}".encode() + text
        body = f"{a}{{{b}".encode() + payload + f"{a}}}{b}".encode()
        assert envelope.webhook(body, JSON) == envelope.Payload(text, "application/json", enveloped=True)
        check_webhook(body)
        members = [f'{type_key}{a}:{b}"order.created"'.encode(), payload]
        assert envelope.event(b"{" + b",".join(members[::order]) + b"}", JSON) == expected

    check()


def test_payloads_beside_tags_and_times_are_extracted_unchanged(many: settings, tally: Tally) -> None:
    seconds = st.integers(0, 2_592_000)

    @many
    @given(TEXTS, SPACES, SPACES, SENT_TAGS, TYPE_KEYS, seconds, st.datetimes(), st.permutations(range(7)))
    def check(
        text: bytes, a: str, b: str, tags: dict[str, str], type_key: str, late: int, at: datetime, order: list[int]
    ) -> None:
        tally.add("envelopes", 1)
        moment, version = at.replace(tzinfo=UTC), late % 1_000_001
        members = [
            f'{type_key}{a}:{b}"order.created"{a}'.encode(),
            f'"payload"{b}:{a}'.encode() + text + a.encode(),
            f'"tags"{a}:{b}{json.dumps(tags, ensure_ascii=bool(a))}{b}'.encode(),
            f'"delay_seconds"{a}:{b}{late}'.encode(),
            f'"deliver_at"{a}:{b}"{moment.isoformat()}"'.encode(),
            f'"deliver_within_seconds"{a}:{b}{late or "null"}'.encode(),
            f'"event_version"{b}:{a}{version or "null"}'.encode(),
        ]
        body = f"{a}{{{b}".encode() + b",".join(members[place] for place in order) + b"}"
        times = envelope.Times(moment, late, late)
        assert envelope.event(body, JSON) == ("order.created", text, tags, "", times, version)

    check()


def check_batch(body: bytes) -> None:
    """Check that a batch is read if and only if it is JSON with nothing but events, and what is read of each."""
    found: Any = parsed(body) if is_json(body) else None
    listed = found[0][1] if isinstance(found, Pairs) and [key for key, _ in found] == ["events"] else None
    if not (type(listed) is list and listed):
        with pytest.raises(errors.InvalidArgument):
            envelope.batch(body, JSON)
        return
    texts = envelope.batch(body, JSON)
    assert [parsed(text) for text in texts] == listed
    for text in texts:
        assert text in body
        check_batched(text)


def check_batched(text: bytes) -> None:
    """Check that an event of a batch is accepted if and only if each of its keys is there once, and is valid."""
    found = parsed(text)
    keys = [key for key, _ in found] if isinstance(found, Pairs) else []
    members = dict(found) if isinstance(found, Pairs) else {}
    key, event_type = members.get("idempotency_key"), members.get("event_type")
    valid = (
        sorted(set(keys) - {"idempotency_key", "tags"}) == ["event_type", "payload"]
        and len(set(keys)) == len(keys)
        and are_tags(members.get("tags"))
        and type(event_type) is str
        and EVENT_TYPE.fullmatch(event_type)
        and (key is None or (type(key) is str and IDEMPOTENCY_KEY.fullmatch(key)))
    )
    if not valid:
        with pytest.raises(errors.InvalidArgument):
            envelope.batched(text)
        return
    taken = envelope.batched(text)
    assert (taken.event_type, taken.idempotency_key) == (event_type, key or "")
    assert parsed(taken.payload) == members["payload"]
    assert taken.payload in text


def test_payloads_in_any_spelling_are_extracted_from_batches_unchanged(many: settings, tally: Tally) -> None:
    one = st.tuples(
        TEXTS, SPACES, SPACES, st.permutations(range(4)), PAYLOAD_KEYS, TYPE_KEYS, st.none() | IDEMPOTENCY_KEYS,
        st.none() | SENT_TAGS,
    )  # fmt: skip

    @many
    @given(st.lists(one, min_size=1, max_size=4), SPACES, SPACES)
    def check(batch: list[Any], a: str, b: str) -> None:
        tally.add("envelopes of batches", len(batch))
        written = []
        for number, (text, before, after, order, payload_key, type_key, own_key, tags) in enumerate(batch):
            members = [
                f"{payload_key}{before}:{after}".encode() + text,
                f'{type_key}{after}:{before}"order.created"'.encode(),
                f'{own_key}{before}:{before}"k{number}"'.encode() if own_key else b"",
                f'"tags"{after}:{after}{json.dumps(tags)}'.encode() if tags is not None else b"",
            ]
            spaced = [before.encode() + member + after.encode() for place in order if (member := members[place])]
            written.append(b"{" + b",".join(spaced) + b"}")
        body = f'{a}{{{b}"events"{a}:{b}['.encode() + f"{a},{b}".encode().join(written) + f"{b}]{a}}}{b}".encode()
        texts = envelope.batch(body, JSON)
        assert texts == written
        assert [envelope.batched(text) for text in texts] == [
            ("order.created", one[0], one[7] or {}, f"k{number}" if one[6] else "", None, 0)
            for number, one in enumerate(batch)
        ]

    check()


def test_a_nearly_valid_batch_is_refused_and_a_valid_one_is_not(many: settings, tally: Tally) -> None:
    event = st.sampled_from(
        [
            b'{"event_type": "a.b", "payload": %b}',
            b'{"payload": %b, "event_type": "a.b", "idempotency_key": "k"}',
            b'{"event_type": "a.b", "payload": %b, "idempotency_key": null}',
            b'{"event_type": "a.b", "payload": %b, "payload": 1}',
            b'{"tags": {"order": "1"}, "event_type": "a.b", "payload": %b}',
            b'{"event_type": "a.b", "payload": %b, "tags": {"order": 1}}',
            b'{"event_type": "a.b", "tags": {"a": "1", "b": "2"}, "payload": %b, "tags": null}',
            b"%b",
        ]
    )

    @many
    @given(st.lists(st.tuples(TEXTS, event), max_size=3), SMALL_CHANGES)
    def check(batch: list[tuple[bytes, bytes]], made: list[tuple[float, int, bytes]]) -> None:
        tally.add("envelopes of batches, broken")
        body = b'{"events": [%b]}' % b", ".join(around.replace(b"%b", text) for text, around in batch)
        check_batch(body)
        check_batch(changed(body, made))

    check()


def test_nearly_json_is_refused_and_json_is_not(many: settings, tally: Tally) -> None:
    @many
    @given(TEXTS, SMALL_CHANGES, st.sampled_from(AROUND))
    def check(text: bytes, made: list[tuple[float, int, bytes]], around: bytes) -> None:
        tally.add("envelopes, broken", 2)
        body = changed(around.replace(b"%b", text), made)
        check_webhook(body)
        check_event(body)

    check()


def test_nearly_json_within_its_envelope_is_refused_and_json_is_not(many: settings, tally: Tally) -> None:
    @many
    @given(TEXTS, SMALL_CHANGES)
    def check(text: bytes, made: list[tuple[float, int, bytes]]) -> None:
        tally.add("envelopes, broken", 2)
        spoiled = changed(text, made)
        check_webhook(b'{"payload":' + spoiled + b"}")
        check_event(b'{"event_type":"a.b","payload":' + spoiled + b"}")

    check()
