"""Pinned images: one version of each in the repository, and their age is printed but fails nothing."""

import json
import os
import re
import subprocess
from collections import defaultdict
from pathlib import Path

import pytest

from scripts import pins


def test_an_image_has_one_version_everywhere() -> None:
    versions: dict[str, set[str]] = defaultdict(set)
    for pin in pins.pins():
        versions[pin.image].add(pin.tag)
    assert versions.keys() == {
        "docker.io/library/postgres",
        "docker.io/valkey/valkey",
        "docker.io/library/python",
        "docker.io/prom/prometheus",
        "registry.k8s.io/prometheus-adapter/prometheus-adapter",
    }
    assert [image for image, tags in versions.items() if len(tags) != 1] == []
    for (tag,) in versions.values():
        assert re.match(r"v?[0-9]+\.[0-9]+", tag)


def test_the_stores_are_pinned_in_the_chart_and_in_compose() -> None:
    files = defaultdict(set)
    for pin in pins.pins():
        files[pin.image].add(pin.file)
    for image in ("docker.io/library/postgres", "docker.io/valkey/valkey"):
        assert files[image] == {"charts/webhook-service/values.yaml", "docker-compose.yaml"}


def test_updates_are_allowed_for_the_versions_that_are_pinned() -> None:
    rules = json.loads((pins.ROOT / "renovate.json").read_text())["packageRules"]
    allowed = {name: rule["allowedVersions"].strip("/") for rule in rules for name in rule.get("matchPackageNames", ())}
    tags = {pin.image: pin.tag for pin in pins.pins()}
    assert allowed.keys() <= tags.keys()
    for image, pattern in allowed.items():
        assert re.search(pattern, tags[image]), image


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with an old pin, and a newer one."""

    def git(*arguments: str, day: str = "") -> None:
        dates = {"GIT_AUTHOR_DATE": f"{day}T00:00:00Z", "GIT_COMMITTER_DATE": f"{day}T00:00:00Z"} if day else {}
        nobody = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
        names = {
            f"GIT_{role}_{what}": "x@example.com" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
        }
        environment = {"PATH": os.environ["PATH"], **nobody, **names, **dates}
        subprocess.run(["git", *arguments], cwd=tmp_path, env=environment, check=True, capture_output=True)

    git("init")
    (tmp_path / "docker-compose.yaml").write_text("image: docker.io/library/postgres:17.6\nimage: docker.io/a/b:1.0\n")
    git("add", ".")
    git("commit", "--message", "first", day="2025-01-01")
    (tmp_path / "docker-compose.yaml").write_text("image: docker.io/library/postgres:17.6\nimage: docker.io/a/b:1.1\n")
    git("commit", "--all", "--message", "second")
    return tmp_path


def test_an_old_pin_is_warned_of_and_fails_nothing(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pins.main([], repository)
    printed = capsys.readouterr().out
    assert "docker.io/library/postgres:17.6 since 2025-01-01, docker-compose.yaml:1" in printed
    assert "::warning file=docker-compose.yaml,line=1::docker.io/library/postgres:17.6 was pinned" in printed
    assert printed.count("::warning") == 1
    pins.main(["--days", "100000"], repository)
    assert "::warning" not in capsys.readouterr().out
