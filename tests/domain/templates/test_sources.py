"""Sources: what they write, where, and what they may not have."""

import gzip
import json
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.domain.templates.event import Event, decoded
from services.domain.templates.sources import Sources
from services.domain.templates.template import MAX_OUTPUT_BYTES, MORE_BYTES, TemplateFailed

JSON = "application/json"
DATA = {"name": 'Ada "the\\first"\n', "amount": 12300, "items": [{"id": 1}, {"id": 2}], "none": None, "yes": True}


def event(data: object = DATA, **fields: Any) -> Event:
    """Return an event with this payload."""
    payload = data if isinstance(data, bytes) else json.dumps(data).encode()
    given: dict[str, Any] = {
        "id": "019ced70-1c5d-7f02-8f4b-2ab1c9d3e4f5",
        "type": "order.created",
        "time": "2026-03-14T15:09:26.535Z",
        "content_type": JSON,
        "payload": payload,
        "tags": {"order": "42"},
    }
    return Event(**given | fields)


def rendered(
    source: str, content_type: str = JSON, of: Event | None = None, secrets: dict[str, str] | None = None
) -> str:
    """Return what a source makes of an event."""
    of = of or event()
    sources = Sources()
    compiled = sources.compiled(source, content_type)
    made = sources.render(compiled, content_type, of.variables(secrets or {}), len(of.payload))
    return made.body.decode()


def failure(source: str, content_type: str = JSON, of: Event | None = None) -> str:
    """Return why a source fails."""
    with pytest.raises(TemplateFailed) as raised:
        rendered(source, content_type, of)
    return str(raised.value)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ('{"a": "paid {{ event.data.name }}"}', {"a": f"paid {DATA['name']}"}),
        ('{"a": {{ event.data.name }}}', {"a": DATA["name"]}),
        ('{"a": {{ event.data.amount }}, "b": "{{ event.data.amount }}"}', {"a": 12300, "b": "12300"}),
        ('{"a": {{ event.data.amount / 100 }}}', {"a": 123}),
        ('{"a": {{ event.data.none }}, "b": "{{ event.data.none }}"}', {"a": None, "b": ""}),
        ('{"a": {{ event.data.no.such.field }}, "b": "{{ event.data.no.such }}"}', {"a": None, "b": ""}),
        ('{"a": {{ event.data.yes }}, "b": "{{ event.data.yes }}"}', {"a": True, "b": "true"}),
        ('{"a": {{ event.data["items"] }}}', {"a": DATA["items"]}),
        ('{"a": {{ event.data | tojson }}}', {"a": DATA}),
        ('{"a": "{{ event.data["items"] | tojson }}"}', {"a": '[{"id": 1}, {"id": 2}]'}),
        ('{"a": "{{ event.type }} {{ event.id }} {{ event.tags.order }}"}', {"a": f"order.created {event().id} 42"}),
        ('{"a": [{% for i in event.data["items"] %}{{ i.id }}{% if not loop.last %},{% endif %}{% endfor %}]}',
         {"a": [1, 2]}),
        ('{"a": "{% if event.data.yes %}{{ event.data.name }}{% else %}no{% endif %}"}', {"a": DATA["name"]}),
        ('{"a": {% if event.data.none %}"x"{% else %}{{ event.data.amount }}{% endif %}}', {"a": 12300}),
        ('{% set n = event.data.name | upper %}{"a": "{{ n }}"}', {"a": str(DATA["name"]).upper()}),
        ('{"a": "\\"{{ event.data.name }}\\\\"}', {"a": f'"{DATA["name"]}\\'}),
        ('{"a": "{% raw %}{{ b }}{% endraw %}"} {# a "comment #}', {"a": "{{ b }}"}),
        ('{"a": {{- {"b": {"c": 1}} -}} }', {"a": {"b": {"c": 1}}}),
        ('{"a": "{{ "}}" }}"}', {"a": "}}"}),
        ('{"a": "{{ secrets.key }}"}', {"a": 'a"b'}),
    ],
)  # fmt: skip
def test_a_value_is_escaped_inside_a_json_string_and_whole_elsewhere(source: str, expected: object) -> None:
    assert json.loads(rendered(source, secrets={"key": 'a"b'})) == expected


@given(st.text() | st.dictionaries(st.text(), st.text() | st.integers(-(2**53), 2**53) | st.none(), max_size=3))
def test_no_value_breaks_out_of_its_place_in_json(value: object) -> None:
    text = rendered('{"a": "x{{ event.data.v }}", "b": {{ event.data.v }}}', of=event({"v": value}))
    found = json.loads(text)
    assert found["b"] == value
    assert list(found) == ["a", "b"]
    if isinstance(value, str):
        assert found["a"] == f"x{value}"


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        ("text/plain; charset=utf-8", "<a href='x'>&\""),
        ("text/html", "&lt;a href=&#x27;x&#x27;&gt;&amp;&quot;"),
        ("application/soap+xml", "&lt;a href=&#x27;x&#x27;&gt;&amp;&quot;"),
        ("application/x-www-form-urlencoded", "%3Ca%20href%3D%27x%27%3E%26%22"),
    ],
)
def test_values_are_escaped_as_the_content_type_needs(content_type: str, expected: str) -> None:
    assert rendered("v={{ event.data }}", content_type, event("<a href='x'>&\"")) == f"v={expected}"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("\n{% include 'a' %}", "line 2: include cannot be used in a template; use if, for, set, and raw"),
        ("{% macro m() %}{% endmacro %}", "line 1: macro cannot be used in a template"),
        ("{% extends 'a' %}", "extends cannot be used"),
        ("{% set a %}b{% endset %}", "line 1: set must have a value"),
        ("{% for a in event.data recursive %}{% endfor %}", "recursive cannot be used"),
        ("{{ }}", "a value is missing"),
        ("{{ event", "the tag is not closed: add }}"),
        ("{{ 'event }}", "a string is not closed: add '"),
        ("{% raw %}", "raw is not closed"),
        ("{# a", "the comment is not closed"),
        ('\n\n{"a": "\\{{ event.id }}"}', "line 3: a backslash before a tag"),
        ('{"a": {% if event.id %}"x{% else %}"y"{% endif %}', "the branches of this if do not end at the same place"),
        ('{"a": "{% for i in event.data %}x"{% endfor %}}', "the branches of this for do not end at the same place"),
        ("{% endif %}", "endif belongs to no open statement"),
        ("{{ event.id | nope }}", "line 1: filter nope is unknown"),
        ("{{ event. }}", "line 1: "),
        ('{"a": 1,}', "the output is not JSON: trailing comma in object, on line 1 of the output"),
        ('{"a": b}', "the output is not JSON"),
        ("  \n", "the output is empty"),
        ("[" * 3000 + "]" * 3000, "nested too deeply"),
        ('"{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}"', "it takes too many steps"),
    ],
)
def test_a_source_that_cannot_be_sent_says_why_and_where(source: str, expected: str) -> None:
    assert expected in failure(source)


def test_the_output_may_be_as_large_as_a_payload() -> None:
    large = event({"text": "x" * (MAX_OUTPUT_BYTES - 100)})
    assert len(rendered("{{ event.data }}", of=large)) == len(large.payload) - 1  # without a space
    twice = '["{{ event.data.text }}", "{{ event.data.text }}"]'
    assert f"it must have at most {len(large.payload) + MORE_BYTES}" in failure(twice, of=large)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"payload": b"a=1&b=2", "content_type": "application/x-www-form-urlencoded"}, "a=1&b=2"),
        ({"payload": b"\xff\x00", "content_type": "image/png"}, "\ufffd\x00"),
        ({"payload": b"\xef\xbb\xbf{}"}, {}),
        ({"payload": b'{"a": "\\ud83d"}'}, {"a": "?"}),
        ({"payload": b"{not json"}, "{not json"),
        ({"payload": b"[" * 100_000}, "[" * 100_000),
        ({"payload": b"1e400"}, "1e400"),
    ],
)
def test_data_is_the_payload_decoded_or_its_text(fields: dict[str, Any], expected: object) -> None:
    assert event(**fields).data == expected


def test_a_check_names_the_secrets_that_a_source_uses() -> None:
    source = "{{ secrets.a }} {% if secrets.b %}{{ secrets.c.d }}{% endif %} {{ event.data.secrets.e }}"
    assert Sources().check(source, "text/plain") == ["a", "b", "c"]


@pytest.mark.parametrize(("encoding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_an_encoded_payload_is_read_whole_or_not_at_all(encoding: str, compress: Callable[[bytes], bytes]) -> None:
    assert decoded(compress(b"[1]"), encoding) == b"[1]"
    for wrong in (compress(b" " * (MAX_OUTPUT_BYTES + 1)), compress(b"[1]")[:-4]):
        with pytest.raises(TemplateFailed, match="is cut, or has more than"):
            decoded(wrong, encoding)
