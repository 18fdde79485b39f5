"""Expressions of filters: what is refused and where, and what they say of events."""

from typing import Any

import msgspec
import pytest

from services.domain.filters import expression
from services.domain.filters.evaluation import Evaluation
from services.domain.filters.expression import Verdict, compiled
from services.platform import ids

INNER = "(event.data.b == 2 && event.data.c == '&&')"
ORDER: dict[str, Any] = {
    "amount": 250,
    "price": 9.5,
    "country": "DE",
    "paid": True,
    "customer": {"email": "ada@example.com", "tier": None},
    "items": [{"sku": "a", "qty": 1}, {"sku": "b", "qty": 4}],
    "größe": "XL",
}


def evaluation(data: Any = ORDER, *, raw: bytes | None = None, **fields: Any) -> Evaluation:
    given: dict[str, Any] = {
        "event_id": ids.new(),
        "event_type": "order.created",
        "content_type": "application/json",
        "content_encoding": None,
        "tags": {"customer": "acme"},
        "payload": msgspec.json.encode(data) if raw is None else raw,
    }
    return Evaluation(**given | fields)


def verdict(text: str, data: Any = ORDER, **fields: Any) -> Verdict:
    assert not expression.violations(text)
    return evaluation(data, **fields).evaluate(compiled(text))[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("event.data.amount > 100 && event.data.country in ['DE', 'FR']", Verdict.MATCH),
        ("event.data.amount > 100.5 && event.data.price < 10", Verdict.MATCH),
        ("event.data.amount == 250.0", Verdict.MATCH),
        ("event.data.amount == '250'", Verdict.NO_MATCH),
        ("!event.data.paid", Verdict.NO_MATCH),
        ("event.data.paid", Verdict.MATCH),
        ("event.data.country", Verdict.ERROR),
        ("event.data.missing == 1", Verdict.ERROR),
        ("event.data.missing == 1 && event.data.amount == 0", Verdict.NO_MATCH),
        ("event.data.missing == 1 || event.data.amount == 250", Verdict.MATCH),
        ("has(event.data.missing) && event.data.missing == 1", Verdict.NO_MATCH),
        ("has(event.data.customer.tier) && event.data.customer.tier == null", Verdict.MATCH),
        ("event.data.items.exists(item, item.sku == 'b' && item.qty > 3)", Verdict.MATCH),
        ("event.data.items.all(item, item.qty > 1)", Verdict.NO_MATCH),
        ("event.data.items.exists_one(item, item.sku == 'a')", Verdict.MATCH),
        ("size(event.data.items) == 2 && event.data.items[1].qty == 4", Verdict.MATCH),
        ("event.data['größe'] == 'XL'", Verdict.MATCH),
        (r"event.data.customer.email.matches('@example\\.com$')", Verdict.MATCH),
        ("event.data.customer.email.endsWith('.org')", Verdict.NO_MATCH),
        ("event.type.startsWith('order.') && event.tags.customer == 'acme'", Verdict.MATCH),
        ("'customer' in event.tags && !('region' in event.tags)", Verdict.MATCH),
        ("event.content_type == 'application/json' && size(event.id) == 36", Verdict.MATCH),
        ("event.time > timestamp('2020-01-01T00:00:00Z')", Verdict.MATCH),
        ("event.time.getHours('Europe/Berlin') < 24", Verdict.MATCH),
        ("int(event.data.amount) % 2 == 0 ? event.data.paid : false", Verdict.MATCH),
    ],
)
def test_an_expression_is_evaluated_on_the_event(text: str, expected: Verdict) -> None:
    assert verdict(text) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "must not be empty"),
        ("event.data.amount >\n && 3", "line 2, column 2: Syntax error"),
        ("event.data.é", "line 1, column 12: Syntax error"),
        ("event.amount > 3", "line 1, column 6: undeclared reference to 'event.amount'; the payload is event.data"),
        ("event.type > 3", "line 1, column 12: found no matching overload"),
        ("1 + 2", "must be true or false, and its result is of type INT"),
        ("event.data", "line 1, column 6: must be a condition"),
        ("[event.data.a] == [1]", "line 1, column 1: a list can only be on the right of `in`"),
        ("event.data.a in [1, event.data.b]", "line 1, column 31: the items of a list must be constants"),
        ("event.data.a in [" + "1," * 101 + "1]", "line 1, column 17: a list can have at most 100 items"),
        ("{'a': 1} == event.data", "line 1, column 1: maps and messages cannot be made in a filter"),
        ("event.data.a.map(x, x) == event.data.b", "line 1, column 17: map() and filter() are not available"),
        (
            "event.data.a.exists(x, x.b.exists(y, y == 1))",
            "line 1, column 34: exists(), exists_one(), and all()",
        ),
        ("event.data.a.exists(x, x == event.data.b)", "line 1, column 34: event.data: only its variable can be used"),
        ("event.data.a.exists(x, event.type.contains('a'))", "line 1, column 43: contains(): only its variable"),
        ("event.data.a.exists(x, x.matches('a'))", "line 1, column 33: matches() cannot be used inside"),
        ("event.data.a.contains(event.data.b)", "line 1, column 22: contains(): the argument must be a text"),
        ("(event.data.a + event.data.b).contains('a')", "line 1, column 39: contains() must be called on a field"),
        ("event.data.a.matches('(a?){300}')", "has regular expressions that are too large"),
        (r"event.data.a.matches('\\pL')", "line 1, column 21: matches(): the pattern must not contain"),
        (
            "event.data.a.matches('[')",
            "line 1, column 21: matches(): the pattern is not a valid regular expression: missing ]",
        ),
        (
            r"event.data.a.matches('(?=a)')",
            "line 1, column 21: matches(): the pattern is not a valid regular expression: ",
        ),
        (" && ".join(f"event.data.a != {n}" for n in range(31)), "refers to event.data 31 times; at most 30"),
        ("!" * 1 + "(" * 40 + "true" + ")" * 40, "is nested too deeply"),
        ("bytes(event.data.a) == b'a'", "line 1, column 6: bytes() is not available in filters"),
        ("event.data.a == '\ud800'", "must be valid Unicode"),
        ("event.data.a == 'a\x00'", "must be valid Unicode, without NUL"),
        ("x" * 2049, "must be at most 2048 characters"),
    ],
)
def test_an_expression_is_refused_with_the_place_of_what_is_wrong(text: str, expected: str) -> None:
    found = expression.violations(text)
    assert found
    assert found[0].field == "filter"
    assert found[0].description.startswith(expected), found[0].description


@pytest.mark.parametrize(
    ("raw", "fields", "expected"),
    [
        (b"\xef\xbb\xbf" + b'{"amount": 1}', {}, "Key not found"),
        (b'{"a": 36893488147419103232}', {}, "out of range"),
        (b'{"a": "\\ud800"}', {}, "the payload is not JSON"),
        (b"not json", {}, "the payload is not JSON"),
        (b"[" * 100_000, {}, "the payload has"),
        (b"[" * 400 + b"]" * 400, {}, ""),
        (b'{"a": 1}', {"content_encoding": "gzip"}, "the payload is not JSON"),
        (b'{"a": [' + b"0," * 20_000 + b"0]}", {}, "the payload has 20003 values; this filter allows 10000"),
        (b"null", {}, ""),
        (b'{"a": 1, "b": [{"a\\u0000b": 0}]}', {}, "the payload has a text with the character NUL"),
    ],
)
def test_a_payload_that_a_filter_cannot_be_evaluated_for_is_an_error(
    raw: bytes, fields: dict[str, Any], expected: str
) -> None:
    found, why = evaluation(raw=raw, **fields).evaluate(compiled("event.data.a == 1"))
    assert found is Verdict.ERROR
    assert expected in why


def test_a_text_about_nul_is_no_text_with_nul() -> None:
    assert verdict(r"event.data.a == '\\u0000'", raw=rb'{"a": "\\u0000"}') is Verdict.MATCH


def test_a_filter_on_no_data_is_evaluated_for_any_payload() -> None:
    assert verdict("event.type == 'order.created'", raw=b"[" * 100_000) is Verdict.MATCH


def test_a_regular_expression_is_evaluated_for_large_payloads_with_short_texts_only() -> None:
    text = "event.data.name.matches('^a')"
    fields = {f"field{number}": "x" * 500 for number in range(1_000)}
    assert verdict(text, {"name": "ab"} | fields) is Verdict.MATCH
    assert verdict(text, {"name": "ab", "attachment": "x" * 500_000}) is Verdict.ERROR


def test_parts_are_those_that_all_have_to_be_true() -> None:
    text = f"event.data.a == 1 && {INNER}\n && event.data.d"
    assert expression.parts(text) == [
        "event.data.a == 1",
        "(event.data.b == 2 && event.data.c == '&&')",
        "event.data.d",
    ]
    assert expression.parts("event.data.a || event.data.b && event.data.c") == [
        "event.data.a || event.data.b && event.data.c"
    ]
