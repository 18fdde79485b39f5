"""The growth of an external counter."""

from services.platform.process.metrics import Growth


def test_counts_from_the_first_look() -> None:
    growth = Growth()

    assert [growth.of("blocks", total) for total in (700, 700, 712)] == [0, 0, 12]


def test_a_total_that_restarts_subtracts_nothing() -> None:
    growth = Growth()

    assert [growth.of("blocks", total) for total in (700, 5, 8)] == [0, 0, 3]


def test_totals_are_kept_separate() -> None:
    growth = Growth()
    growth.of("hits", 10)

    assert growth.of("misses", 4) == 0
    assert growth.of("hits", 11) == 1
