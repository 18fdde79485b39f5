"""Settings of every process are checked before anything starts."""

from pathlib import Path

import pytest

from dev.local import checks
from dev.local.settings import LocalSettings
from services.platform.settings import Settings


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty working folder, and an environment without our variables."""
    monkeypatch.chdir(tmp_path)
    classes: list[type[Settings]] = [*checks.ROLES, LocalSettings]
    for name in {name for cls in classes for name in cls.model_fields}:
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.parametrize(
    ("environment", "lines"),
    [
        ({"PORT": "many"}, ["PORT: "]),
        ({"API_KEY_REQUESTS_PER_SECOND": "soon"}, ["API_KEY_REQUESTS_PER_SECOND: "]),
        ({"IDEMPOTENCY_KEY_HOURS": "0"}, ["IDEMPOTENCY_KEY_HOURS: "]),
        ({"LOG_RETENTION_HOURS": "never"}, ["LOG_RETENTION_HOURS: "]),
        ({"WORKER_CONCURRENCY": "x", "TOP_SUBSCRIPTIONS": "101"}, ["TOP_SUBSCRIPTIONS: ", "WORKER_CONCURRENCY: "]),
        ({"EGRESS_ALLOW": "a/b/c"}, ["EGRESS_ALLOW: "]),
        # Leases of 30 s, which `make run` sets, instead of the workers' default of 60.
        (
            {"DELIVERY_TIMEOUT_SECONDS": "26"},
            ["configuration: LEASE_SECONDS must be at least DELIVERY_TIMEOUT_SECONDS"],
        ),
        ({"AUTH_REQUIRED": "true"}, ["SERVICE_KEY: ", "BOOTSTRAP_ADMIN_KEY: "]),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else "",
)
def test_invalid_variables_of_any_process_are_reported_in_one_line_each(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    environment: dict[str, str],
    lines: list[str],
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as ended:
        checks.checked()
    assert ended.value.code == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == len(lines)
    assert all(line.startswith(expected) for line, expected in zip(said, lines, strict=True)), said


def test_right_ones_are_the_supervisors_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "8181")
    monkeypatch.setenv("DELIVERY_TIMEOUT_SECONDS", "25")
    assert checks.checked().port == 8181
