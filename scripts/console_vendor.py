"""Put the libraries of the console into console/vendor, as console/vendor/packages.json names them.

    python3 scripts/console_vendor.py [--check]

npm fetches each package in the version that is recorded, and it must have the integrity that is recorded. To update a
library, change its version and remove its integrity, and run this. Browsers do not know bare imports without an import
map, which would be an inline script: they are rewritten to relative paths. `--check` needs no network: it compares the
files with the digests that were recorded when they were made.
"""

import argparse
import base64
import hashlib
import io
import json
import re
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

VENDOR = Path(__file__).resolve().parents[1] / "console/vendor"
RECORD = VENDOR / "packages.json"
# `from "x"` and `import "x"` of minified modules.
_IMPORT = re.compile(r"""\b(from|import)\s*(["'])([^"'./][^"']*)\2""")
_SOURCE_MAP = re.compile(r"\n?//# sourceMappingURL=\S+\s*$")


class VendorError(Exception):
    """A package or a file is not what is recorded."""


def main() -> int:
    """Write the files, or with --check compare them. Return 1 with a line on what is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="only compare the files with what is recorded")
    record = json.loads(RECORD.read_text())
    try:
        if parser.parse_args().check:
            check(record)
        else:
            for package in record["packages"]:
                vendor(package, record)
            RECORD.write_text(json.dumps(record, indent=2) + "\n")
    except VendorError as error:
        sys.stderr.write(f"console-vendor: {error}\n")
        return 1
    return 0


def check(record: dict[str, Any]) -> None:
    """Raise VendorError unless the folder has exactly the recorded files."""
    files = {name: file["sha256"] for package in record["packages"] for name, file in package["files"].items()}
    found = {path.name: _sha256(path.read_bytes()) for path in VENDOR.iterdir() if path.suffix != ".json"}
    for name in sorted(files.keys() | found.keys()):
        if files.get(name) != found.get(name):
            raise VendorError(f"console/vendor/{name} is not what packages.json records; run make console-vendor")


def vendor(package: dict[str, Any], record: dict[str, Any]) -> None:
    """Fetch a package and write its files."""
    name = f"{package['name']}@{package['version']}"
    archive = _fetch(name)
    integrity = "sha512-" + base64.b64encode(hashlib.sha512(archive).digest()).decode()
    if package.setdefault("integrity", integrity) != integrity:
        raise VendorError(f"{name} has the integrity {integrity}, not the one in packages.json")
    with tarfile.open(fileobj=io.BytesIO(archive)) as members:
        for vendored, file in package["files"].items():
            member = members.extractfile(f"package/{file['source']}")
            if member is None:
                raise VendorError(f"{name} has no {file['source']}")
            content = _SOURCE_MAP.sub("\n", rewritten(member.read().decode(), record)).encode()
            file["sha256"] = _sha256(content)
            (VENDOR / vendored).write_bytes(content)


def rewritten(text: str, record: dict[str, Any]) -> str:
    """Return a module whose bare imports are relative paths."""
    files = {
        file["imported_as"]: vendored
        for package in record["packages"]
        for vendored, file in package["files"].items()
        if "imported_as" in file
    }

    def relative(found: re.Match[str]) -> str:
        keyword, _, name = found.groups()
        if name not in files:
            raise VendorError(f'nothing in packages.json is imported as "{name}"')
        return f'{keyword}"./{files[name]}"'

    return _IMPORT.sub(relative, text)


def _fetch(name: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        command = ["npm", "pack", "--silent", "--pack-destination", folder, name]
        try:
            subprocess.run(command, check=True, cwd=folder)  # noqa: S603 - the name is from packages.json
        except (OSError, subprocess.CalledProcessError) as error:
            raise VendorError(f"npm cannot fetch {name}: {error}") from error
        return next(Path(folder).glob("*.tgz")).read_bytes()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
