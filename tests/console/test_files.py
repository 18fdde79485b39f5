"""The files of the console: what they weigh, what they load, and that they are what is recorded."""

import gzip
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

from scripts.release.publishing import Addresses
from services.domain.states import DeliveryReason, DeliveryStatus, JobKind, JobStatus
from services.gateway.console.pages import served_files

ROOT = Path(__file__).resolve().parents[2]
CONSOLE = ROOT / "console"
SERVED = (".js", ".css", ".svg", ".html")
MAX_BYTES = 90_000
_IMPORT = re.compile(r"""^(?:import|export)\b[^;]*?\bfrom ?"([^"]+)"|\bimport\("([^"]+)"\)""", re.MULTILINE)
# The modules of minified files stand in one line.
_MINIFIED = re.compile(r"""\bfrom"([^"]+)\"""")
# What is served may lack, besides comments.
_SPACES = re.compile(rb"\s+|;(?=\s*\})")
_CAST = re.compile(rb"/\*\* @type .*? \*/ ?")
# A template that is no HTML, and does not end in its line.
_BEGINS_TEXT = rb"(?:[(=:+,?]|\breturn) ?`[^`;\n][^`\n]*$"
_ASSET = re.compile(r'"/console/assets/HASH/([^"]+)"')


def served() -> Iterator[Path]:
    return (path for path in sorted(CONSOLE.rglob("*")) if path.suffix in SERVED)


def test_all_files_together_are_small() -> None:
    whole = b"".join(body for _, body in served_files()) + (CONSOLE / "index.html").read_bytes()
    assert len(gzip.compress(whole, 9)) <= MAX_BYTES


def test_files_are_served_without_their_comments_and_with_all_else() -> None:
    for name, body in served_files():
        if not name.startswith("vendor/"):
            assert not re.search(rb"^ *(/\*|//)", body, re.MULTILINE), name
            lines = (line.strip() for line in (CONSOLE / name).read_bytes().splitlines())
            kept = (_CAST.sub(b"", line) for line in lines if not re.match(rb"/\*|\*(?!,)|//", line))
            assert _SPACES.sub(b"", body) == _SPACES.sub(b"", b"\n".join(kept)), name


def test_no_text_over_several_lines_loses_its_indents() -> None:
    texts = {
        name for name, body in served_files() if name.endswith(".js") and re.search(_BEGINS_TEXT, body, re.MULTILINE)
    }
    assert {name for name in texts if not name.startswith("vendor/")} == {"lib/verify.js"}
    verify = next(body for name, body in served_files() if name == "lib/verify.js")
    assert b"\n    " in verify


def test_pictures_are_well_formed() -> None:
    for path in served():
        if path.suffix == ".svg":
            assert ET.parse(path).getroot().tag.endswith("svg")


def test_vendored_files_are_what_is_recorded() -> None:
    command = [sys.executable, "scripts/console_vendor.py", "--check"]
    outcome = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (outcome.returncode, outcome.stderr) == (0, "")


def test_vendored_packages_have_a_version_a_license_and_an_integrity() -> None:
    for package in json.loads((CONSOLE / "vendor/packages.json").read_text())["packages"]:
        assert re.fullmatch(r"\d+\.\d+\.\d+", package["version"]), package
        assert package["license"] in {"MIT", "Apache-2.0"}, package
        assert package["integrity"].startswith("sha512-"), package


def test_changes_are_made_where_actions_are_copied_as_curl() -> None:
    asking = {path.name for path in served() if path.suffix == ".js" and "fetch(" in path.read_text()}
    # That of the element is of the page around it, which makes links.
    assert asking - {"webhook-portal.js"} == {"api.js"}


def test_there_are_words_for_every_state_reason_and_kind_of_job() -> None:
    words = (CONSOLE / "lib/words.js").read_text()
    for name, values in (
        ("DELIVERY", DeliveryStatus),
        ("REASONS", DeliveryReason),
        ("JOB", JobStatus),
        ("JOBS", JobKind),
    ):
        found = re.search(rf"export const {name} = \{{(.*?)\}};", words, re.DOTALL)
        assert found, name
        assert [value for value in values if f" {value}: " not in found[1]] == [], name


def test_modules_import_only_files_that_exist() -> None:
    for path in (path for path in served() if path.suffix == ".js"):
        pattern = _MINIFIED if path.parent.name == "vendor" else _IMPORT
        for found in pattern.findall(path.read_text()):
            name = "".join(found)
            assert name.startswith("."), f"{path.name} imports {name}: browsers know no bare names"
            assert (path.parent / name).resolve().is_file(), f"{path.name} imports {name}"


def test_the_page_loads_only_files_of_the_console() -> None:
    page = (CONSOLE / "index.html").read_text()
    named = _ASSET.findall(page)
    assert named
    assert [name for name in named if not (CONSOLE / name).is_file()] == []
    # Everything that it names is an asset, but for the link to the API's description.
    assert re.findall(r'(?:src|href)="(?!/console/assets/HASH/)([^"]+)"', page) == ["/docs"]


def test_paths_of_pages_name_only_ids() -> None:
    # Pages put what a path names into paths of the API: one that is not just letters may lead to another of these.
    patterns = re.findall(r"^  \[/\^(.+?)\$/, ", (CONSOLE / "lib/router.js").read_text(), re.MULTILINE)
    assert r"\/deliveries\/([\w-]+)" in patterns
    assert {group for pattern in patterns for group in re.findall(r"\(.*?\)", pattern)} == {r"([\w-]+)"}


def test_no_file_needs_what_the_policy_forbids() -> None:
    page = (CONSOLE / "index.html").read_text()
    assert not re.search(r"<style|<script(?![^>]*\bsrc=)|\son\w+=|\sstyle=", page)
    for path in served():
        text = path.read_text()
        assert not re.search(r"\beval\(|new Function\(", text), path.name
        if path.parent.name != "vendor":
            # Payloads and answers are only ever text.
            assert not re.search(r"innerHTML|outerHTML|AdjacentHTML|dangerously|document\.write", text), path.name
            # An address that is fetched would be another host's; examples in texts are at example.com, and links to the
            # documentation where the repository is.
            host = Addresses.read().repository.split("/")[2]
            found = set(re.findall(r"https?://([a-z0-9.-]+)", text)) - {"example.com", "www.w3.org", host}
            assert found == set(), path.name
