"""The addresses and versions of what is published."""

import re
import subprocess

import pytest

from scripts.release import publishing, tag, versions
from scripts.release.publishing import ROOT, Addresses

FORK = 'repository = "https://github.com/Acme/hooks"\npython = "acme-hooks"\nnpm = "@acme/hooks"\n'


def test_a_fork_changes_only_publishing_toml() -> None:
    ours, fork = Addresses.read(), Addresses.read(FORK)
    made = publishing.files(fork)
    assert (fork.image, fork.chart) == ("ghcr.io/acme/hooks", "oci://ghcr.io/acme/charts/webhook-service")
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    addresses = (ours.image, ours.chart, ours.go, ours.repository.removeprefix("https://"))
    names = "|".join(re.escape(name) for name in {ours.python, ours.npm})
    # A user agent names the SDK, and not where it is published.
    ours_anywhere = re.compile(
        rf"(?<![\w.])(?:{'|'.join(map(re.escape, addresses))})\b|(?<![\w-])(?:{names})(?!-\w+/)\b"
    )
    left = []
    for name in set(listed.split()) - {"publishing.toml", "tests/docs/test_publishing.py"}:
        path = ROOT / name
        if path.suffix in {".png", ".svg"} or not path.is_file():
            continue
        text = made.get(path) or path.read_text(errors="ignore")
        left += [f"{name}: {found[0]}" for found in ours_anywhere.finditer(text)]
    # The chart's own README follows its values, once they are written.
    table = f"charts/webhook-service/README.md: {ours.image}"
    assert [one for one in left if one != table] == []


@pytest.mark.parametrize(
    "repository", ["example.com/webhook-service", "https://github.com/acme/hooks.git/", "https://x"]
)
def test_an_address_of_another_form_is_refused(repository: str) -> None:
    with pytest.raises(ValueError, match=r"publishing\.toml: repository must be"):
        Addresses.read(f'repository = "{repository}"\npython = "a"\nnpm = "a"\n')


def test_versions_agree() -> None:
    assert versions.problems() == []


def test_a_tag_is_released_only_from_its_repository_with_its_version_and_notes() -> None:
    said = tag.problems("v9.9.9", "acme/hooks", Addresses.read())
    assert [line.partition(" ")[0] for line in said[:2]] == ["the", "publishing.toml:"]
    fork = tag.problems(f"v{versions.current()}", "Acme/hooks", Addresses.read(FORK))
    assert all(line.startswith("CHANGELOG.md has no section") for line in fork)


def test_notes_are_the_section_of_the_version(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("root")
    (root / "CHANGELOG.md").write_text("# Changelog\n\n## 1.2.0\n\n- [Pull](docs/pull.md)\n\n## 1.1.0\n\n- Old\n")
    monkeypatch.setattr(tag, "ROOT", root)
    assert (
        tag.notes("1.2.0", Addresses.read(FORK)) == "- [Pull](https://github.com/Acme/hooks/blob/v1.2.0/docs/pull.md)\n"
    )
    assert tag.notes("1.3.0", Addresses.read(FORK)) == ""
