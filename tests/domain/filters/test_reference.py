"""Filters compared with CEL's own tests and a reference, and hostile ones: samples of `make acceptance-shape`."""

import random

from dev.shape import conformance, filters


def test_filters_say_what_the_conformance_tests_of_cel_expect() -> None:
    cases = conformance.cases()
    assert conformance.wrong(cases) == []
    assert {case.verdict for case in cases} == {"match", "no_match", "error"}
    assert len(cases) > 300


def test_filters_say_what_the_reference_says() -> None:
    found = filters.equality(150, 50, random.Random(7))
    assert not found.wrong
    assert found.matches > 500
    assert found.errors > 500


def test_a_hostile_filter_is_refused_or_bounded() -> None:
    # A machine that is busy may take several times as long as the bound.
    found = filters.hostility(120, random.Random(7), patience=5.0)
    assert not found.wrong
    assert found.refused > 30
    assert found.evaluated > 20
