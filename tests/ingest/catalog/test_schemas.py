"""JSON Schemas that payloads are validated against: samples of what `make acceptance-shape` counts in full."""

import json
from pathlib import Path
from typing import Any

import pytest

from dev.shape import catalog as shape
from services.domain.catalog import bounds
from services.domain.catalog.schemas import MAX_ERRORS, MAX_VALUES, Schema
from services.platform import errors

# Files of the official JSON Schema Test Suite, draft 2020-12, as the package jsonschema 4.25.1 has them.
SUITE = Path(__file__).with_name("suite")
# Between them each kind of schema comes twice.
HOSTILE = 30


def compiled(schema: Any) -> Schema:
    return Schema(json.dumps(schema).encode())


def places(schema: Any, payload: bytes) -> list[tuple[str, str]]:
    return [(one.field, one.description) for one in compiled(schema).violations(payload)]


def test_the_official_suite_passes_but_for_what_is_refused() -> None:
    results, wrong = shape.suite(SUITE)
    assert wrong == []
    assert results["passed"] > 200
    assert results["refused"] < 40  # references to other documents, of ref.json


def test_hostile_schemas_are_refused_or_quick() -> None:
    # A machine that is five times slower passes; make acceptance-shape has the bound itself.
    longest, refused, over = shape.hostile(seed=1, number=HOSTILE, bound_seconds=5 * shape.BOUND_SECONDS)
    assert over == []
    assert 0 < refused < HOSTILE
    assert longest > 0


def test_schemas_cause_no_connections() -> None:
    assert shape.fetched() == 0


@pytest.mark.parametrize(
    ("schema", "place"),
    [
        ({"$ref": "https://example.com/a.json"}, "schema/$ref"),
        ({"$ref": "#/$defs/none"}, "schema/$ref"),
        ({"properties": {"a": {"$id": "b"}}}, "schema/properties/a/$id"),
        ({"$schema": "http://json-schema.org/draft-07/schema#"}, "schema/$schema"),
        ({"unevaluatedProperties": False}, "schema/unevaluatedProperties"),
        ({"$dynamicRef": "#a"}, "schema/$dynamicRef"),
        ({"dependencies": {}}, "schema/dependencies"),
        ({"allOf": 1}, "schema/allOf"),
        ({"properties": {"a/b": {"type": "text"}}}, "schema/properties/a~1b/type"),
        ({"properties": {"a": 1}}, "schema/properties/a"),
        ({"pattern": "(?=a)b"}, "schema/pattern"),
        ({"pattern": "a" * 257}, "schema"),
        ({"patternProperties": {f"a{number}": {} for number in range(51)}}, "schema"),
        ({"$ref": "#"}, "schema"),
        ({"allOf": [{"type": "string"}] * 257}, "schema"),
        ({"anyOf": [{"items": {"$ref": "#"}}, {"items": {"$ref": "#"}}]}, "schema"),
        ({"items": {"$ref": "#"}, "uniqueItems": True}, "schema"),
        ({"description": "x" * bounds.MAX_SCHEMA_BYTES}, "schema"),
    ],
)
def test_what_cannot_be_bounded_is_refused_by_its_place(schema: Any, place: str) -> None:
    with pytest.raises(errors.InvalidArgument) as refused:
        compiled(schema)
    assert refused.value.violations[0].field.startswith(place)


def test_a_schema_may_refer_to_itself_and_to_its_anchors() -> None:
    tree = {
        "properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}, "value": {"$ref": "#number"}},
        "$defs": {"n": {"$anchor": "number", "type": "integer"}},
    }
    assert places(tree, b'{"left": {"right": {"value": 1}}}') == []
    assert places(tree, b'{"left": {"right": {"value": "1"}}}') == [("payload/left/right/value", "must be an integer")]


def test_violations_name_the_place_and_what_was_expected_and_show_no_value() -> None:
    schema = {
        "type": "object",
        "required": ["id"],
        "properties": {
            "kind": {"enum": ["a", "b"]},
            "a/b": {"type": ["string", "null"]},
            "list": {"items": {"maximum": 9}, "uniqueItems": True},
            "code": {"pattern": "^[A-Z]+$", "minLength": 2},
        },
        "additionalProperties": False,
    }
    found = places(schema, b'{"kind": "secret", "a/b": 1, "list": [1, 10, 10], "code": "secret", "more": 1}')
    assert sorted(found) == [
        ("payload/a~1b", "must be null or a string"),
        ("payload/code", 'must match the pattern "^[A-Z]+$"'),
        ("payload/id", "is required"),
        ("payload/kind", 'must be one of "a", "b"'),
        ("payload/list", "must not have equal elements"),
        ("payload/list/1", "must be at most 9"),
        ("payload/list/2", "must be at most 9"),
        ("payload/more", "is not allowed"),
    ]


def test_a_schema_with_a_number_that_is_out_of_range_is_refused() -> None:
    with pytest.raises(errors.InvalidArgument, match="schema: has a number that is out of range"):
        Schema(b'{"const": 1e999}')


def test_at_most_ten_violations_are_listed() -> None:
    found = places({"items": {"type": "string"}}, json.dumps(list(range(100))).encode())
    assert len(found) == MAX_ERRORS


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        (b"{", "is not valid JSON"),
        (b"[" + b"1," * MAX_VALUES + b"1]", "is too large to be validated"),
        (b"[" + b"1," * (MAX_VALUES // 2) + b'"a"]', "is too large to say where"),
        (b"[" * 600 + b"]" * 600, "is nested too deeply to say where"),
        (b"[" * 5_000 + b"]" * 5_000, "is nested too deeply"),
        (b"[1e999]", "has a number that is out of range"),
        (b"[" + b"9" * 5_000 + b"]", "has a number that is out of range"),
    ],
)
def test_payloads_beyond_bounds_do_not_match(payload: bytes, said: str) -> None:
    numbers = {"type": "array", "items": {"type": ["integer", "array"]}, "not": {"maxItems": 1}}
    ((field, description),) = places(numbers, payload)
    assert (field, said in description) == ("payload", True), description
