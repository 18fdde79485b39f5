"""CONTRIBUTING.md and related pages name files that exist."""

import re
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped,unused-ignore]

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("CONTRIBUTING.md", "SECURITY.md", "CODE_OF_CONDUCT.md")
TEXT = (ROOT / "CONTRIBUTING.md").read_text()


@pytest.mark.parametrize("page", PAGES)
def test_pages_name_only_paths_that_exist(page: str) -> None:
    text = (ROOT / page).read_text()
    named = re.findall(r"`((?:\.ci/|\.github/|[a-z]+/)[\w./-]*|[\w.-]+\.(?:md|py|yaml|toml|txt|example))`", text)
    linked = re.findall(r"\]\(([^)#:]+)\)", text)
    # Part of a folder that the sentence names.
    inside = {"accept/", "resources/", "web/", "queries.sql", "metrics.py", "settings.py"}
    assert [path for path in {*named, *linked} - inside if not (ROOT / path).exists()] == []


def test_recipes_name_their_files() -> None:
    recipes = re.split(r"^### \d+\. ", TEXT, flags=re.MULTILINE)[1:]
    assert len(recipes) == 10
    for recipe in recipes:
        assert len(re.findall(r"`[a-z]+/[\w./-]+`", recipe)) >= 3, recipe.partition("\n")[0]


def test_commands_are_targets_of_make() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    template = (ROOT / ".github/pull_request_template.md").read_text()
    assert set(re.findall(r"`make ([a-z-]+)", TEXT + template)) <= targets


def test_workflows_pin_actions_and_forms_are_valid_yaml() -> None:
    for path in (ROOT / ".github").rglob("*.y*ml"):
        found = yaml.safe_load(path.read_text())
        for job in found.get("jobs", {}).values() if "jobs" in found else ():
            assert job["timeout-minutes"] <= 60, path.name
            for step in job["steps"]:
                assert re.fullmatch(r"[\w/-]+@(v\d+\.\d+\.\d+|[0-9a-f]{40})", step.get("uses", "a@v1.2.3")), path.name
