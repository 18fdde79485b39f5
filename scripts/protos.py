"""The Python stubs of protos/, written beside the protos as package `protos.webhook.v1`."""

import os
import re
import sys
import tempfile
from pathlib import Path

import grpc_tools
from grpc_tools import protoc

PROTOS = Path(__file__).resolve().parents[1] / "protos"


def files() -> dict[Path, str]:
    """Return the text of each stub by its path."""
    sources = sorted(str(path.relative_to(PROTOS)) for path in PROTOS.rglob("*.proto"))
    well_known = Path(grpc_tools.__file__).parent / "_proto"
    with tempfile.TemporaryDirectory() as target:
        status = protoc.main(
            [
                "protoc",
                f"-I{PROTOS}",
                f"-I{well_known}",
                f"--python_out={target}",
                f"--grpc_python_out={target}",
                f"--mypy_out=quiet:{target}",
                f"--mypy_grpc_out=quiet:{target}",
                *sources,
            ]
        )
        if status != 0:
            sys.exit(status)
        return {
            PROTOS / path.relative_to(target): _in_package(path.read_text())
            for path in sorted(Path(target).rglob("*_pb2*.py*"))
        }


def _in_package(text: str) -> str:
    """Return a stub with its imports below `protos`: protoc knows only the folder of the protos."""
    text = re.sub(r"^(from|import) webhook\.v1\b", r"\1 protos.webhook.v1", text, flags=re.MULTILINE)
    return re.sub(r"(?<![\w.])webhook\.v1\.(\w+_pb2)", r"protos.webhook.v1.\1", text)


if __name__ == "__main__":  # the former command
    os.execv(".venv/bin/python", [".venv/bin/python", "-m", "scripts.generate", *sys.argv[1:]])  # noqa: S606
