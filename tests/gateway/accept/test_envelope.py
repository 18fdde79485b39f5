"""Payloads are cut out of bodies; tests/adversarial/test_envelope.py checks that they are kept byte for byte."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.accept import envelope
from services.gateway.web import problems, routing
from services.platform import errors

# No parser reads this deep, but it is valid JSON.
DEEP = b"[" * 100_000 + b"]" * 100_000


@given(st.binary(min_size=1))
def test_body_of_another_content_type_is_the_payload_unless_enveloped(body: bytes) -> None:
    cut = envelope.webhook(body, b"application/x-thing")
    if not cut.enveloped:
        assert cut == envelope.Payload(body, "application/x-thing", enveloped=False)


@given(st.binary(max_size=60), st.sampled_from([None, b"application/json", b"text/plain", b"application/a+json; v=1"]))
def test_body_of_any_kind_is_a_payload_or_a_4xx(body: bytes, content_type: bytes | None) -> None:
    for cut in (envelope.webhook, envelope.event):
        with contextlib.suppress(errors.InvalidArgument):
            cut(body, content_type)


@pytest.mark.parametrize(
    ("body", "content_type", "payload", "delivered_as"),
    [
        (b'{"payload": 1}', b"application/x-www-form-urlencoded", b"1", "application/json"),
        (b'{"payload": 1}', b"", b"1", "application/json"),
        (b' {"action": "opened"} ', b"application/json", b' {"action": "opened"} ', "application/json"),
        (b'{"a": 1}', b"application/cloudevents+json", b'{"a": 1}', "application/cloudevents+json"),
        (b'{"payload": 1, "more": 2}', b"application/json", b'{"payload": 1, "more": 2}', "application/json"),
        (b'{"a": 1}', None, b'{"a": 1}', "application/json"),
        (b'"\\ud83d"', b"application/json", b'"\\ud83d"', "application/json"),
        (b"a=1&b=2", b"application/x-www-form-urlencoded", b"a=1&b=2", "application/x-www-form-urlencoded"),
        (b"a=1&b=2", None, b"a=1&b=2", "application/octet-stream"),
        (b'\xef\xbb\xbf{"payload": 1}', None, b'\xef\xbb\xbf{"payload": 1}', "application/json"),
        (b'\xef\xbb\xbf{"a": 1}', b"application/json", b'\xef\xbb\xbf{"a": 1}', "application/json"),
        (b"\xef\xbb\xbf{", None, b"\xef\xbb\xbf{", "application/octet-stream"),
        (b"", b"application/json", b"", "application/json"),
        (b"", None, b"", "application/octet-stream"),
        (b'{"payload": 1', b"text/plain", b'{"payload": 1', "text/plain"),
        (b"\x00\xff", b"image/png", b"\x00\xff", "image/png"),
        (b"[" * 100_000, b"text/plain", b"[" * 100_000, "text/plain"),
        (DEEP, b"application/json", DEEP, "application/json"),
        (b'{"type": "a", "data": %b}' % DEEP, None, b'{"type": "a", "data": %b}' % DEEP, "application/octet-stream"),
        (b'\xef\xbb\xbf{"payload": %b}' % DEEP, b"a/b+json", b'\xef\xbb\xbf{"payload": %b}' % DEEP, "a/b+json"),
    ],
)
def test_a_body_is_delivered_with_its_content_type(
    body: bytes, content_type: bytes | None, payload: bytes, delivered_as: str
) -> None:
    cut = envelope.webhook(body, content_type)
    assert (cut.payload, cut.content_type) == (payload, delivered_as)


def test_an_encoded_body_is_the_payload_itself() -> None:
    body = b'{"payload": 1}'  # This is not gzip, but the sender's Content-Encoding is not checked
    cut = envelope.webhook(body, b"application/json", encoded=True)
    assert cut == envelope.Payload(body, "application/json", enveloped=False)


BAD_JSON = [
    b"{",
    b"nope",
    b'{"payload": 01}',
    b'{"payload": NaN}',
    b'{"payload": 1,}',
    b'{"payload": "\x00"}',
    b'{"payload": "a\nb"}',
    b'{"payload": "\xff"}',
    b'{"payload": "\xed\xa0\x80"}',
    b'{"\xff": 1}',
    b'{"a": "\xc0\x80"}',
    b'\xef\xbb\xbf{"payload": 1',
    b'{"payload": 1} x',
    b'{"payload": "\\ud83"}',
    b'{"payload": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    b'{"payload": 1, "payload": 2}',
    b'{"payload": "a", "payload": "b"}',
    b'{"payload": 1, "p\\u0061yload": 2}',
]


@pytest.mark.parametrize("body", BAD_JSON)
def test_bad_json_where_json_is_declared_is_malformed(body: bytes) -> None:
    with pytest.raises(problems.Malformed):
        envelope.webhook(body, b"application/json")


@pytest.mark.parametrize("body", [b'{"payload": 1, "payload": 2}', b'{"payload":"a","payload":"a"}'])
def test_ambiguous_bodies_are_malformed_for_any_content_type(body: bytes) -> None:
    with pytest.raises(problems.Malformed):
        envelope.webhook(body, b"text/plain")


@pytest.mark.parametrize("body", BAD_JSON)
def test_a_malformed_event_is_refused(body: bytes) -> None:
    with pytest.raises(errors.InvalidArgument):
        envelope.event(body, None)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b'{"event_type": "a", "payload": 01}',
        b'{"event_type": "a", "payload": "\xff"}',
        b'{"event_type": "a", "payload": 1, "more"',
        b'{"event_type": "a", "event_type": "b", "payload": 1}',
        b'{"event_type": "a", "payload": 1, "payload": 2}',
        b'{"event_type": "a", "payload": "a", "event_type": "a"}',
        b'{"payload": "a", "event_type": "a", "payload": "a"}',
        b'{"payload": "a", "payload": "a", "event_type": "a"}',
    ],
)
def test_an_event_that_is_not_json_or_has_a_key_twice_is_malformed(body: bytes) -> None:
    with pytest.raises(problems.Malformed):
        envelope.event(body, None)


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        (b"[]", {"body"}),
        (b'"x"', {"body"}),
        (b"{}", {"event_type", "payload"}),
        (b'{"event_type": "a"}', {"payload"}),
        (b'{"payload": 1}', {"event_type"}),
        (b'{"event_type": 1, "payload": 1}', {"event_type"}),
        (b'{"event_type": null, "payload": 1}', {"event_type"}),
        (b'{"event_type": "a", "payload": 1, "more": 1}', {"more"}),
        (b'{"event_type": "", "payload": 1}', {"event_type"}),
        (b'{"event_type": "a b", "payload": 1}', {"event_type"}),
        (b'{"event_type": "a\\u0000", "payload": 1}', {"event_type"}),
        (b'{"event_type": "\\ud83d", "payload": 1}', {"event_type"}),
        (b'{"event_type": "' + b"a" * 129 + b'", "payload": 1}', {"event_type"}),
    ],
)
def test_a_wrong_event_names_every_field_at_fault(body: bytes, fields: set[str]) -> None:
    with pytest.raises(errors.InvalidArgument) as raised:
        envelope.event(body, None)
    assert {violation.field for violation in raised.value.violations} == fields
    assert problems.status_of(raised.value) == 422


def test_an_event_that_is_nested_too_deeply_is_refused() -> None:
    with pytest.raises(problems.Malformed, match="nested too deeply"):
        envelope.event(b'{"event_type": "a", "payload": %b}' % DEEP, None)


def test_an_event_of_another_content_type_is_refused() -> None:
    with pytest.raises(problems.UnsupportedMediaType):
        envelope.event(b'{"event_type": "a", "payload": 1}', b"text/plain")


@pytest.mark.parametrize("content_type", [b"\xff", b"a" * 256, b"text/plain\x01", b" "])
def test_a_content_type_that_could_not_be_sent_on_is_refused(content_type: bytes) -> None:
    with pytest.raises(errors.InvalidArgument) as raised:
        envelope.webhook(b"x", content_type)
    assert raised.value.violations[0].field == "Content-Type"


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        ("application/json", True),
        ("Application/JSON; charset=utf-8", True),
        ("application/vnd.api+json", True),
        ("text/plain", False),
        ("+json", False),
        ("", False),
        ("application/json2", False),
    ],
)
def test_content_types_of_json_are_recognized(content_type: str, *, expected: bool) -> None:
    assert routing.is_json(content_type) is expected
