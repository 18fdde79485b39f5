import sysconfig

import pytest

from dev.benchmarks.measuring import machine


@pytest.mark.parametrize(
    ("arguments", "built"),
    [
        ("'--enable-optimizations' '--with-lto' '--enable-shared'", (True, True)),
        ("'--enable-optimizations' '--with-lto=full'", (True, True)),
        ("'--prefix=/usr' '--with-lto=no'", (False, False)),
        (None, (False, False)),
    ],
)
def test_this_interpreter_says_how_it_was_built(
    arguments: str | None, built: tuple[bool, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sysconfig, "get_config_var", {"CONFIG_ARGS": arguments}.get)

    found = machine.this_interpreter()

    assert (found.pgo, found.lto) == built


def test_this_machine_names_the_stores() -> None:
    found = machine.this_machine()

    assert found.stores["postgres"].startswith("postgres (PostgreSQL) ")
    assert found.stores["redis"].startswith("Valkey server v=")
