"""Makes the Python stubs of protos/: python scripts/protos.py [--check].

The stubs are written beside the protos, as package `protos.webhook.v1`. With --check nothing is
written; the exit status is 1 when a committed stub differs from what would be written.
"""

import argparse
import filecmp
import re
import sys
import tempfile
from pathlib import Path

import grpc_tools
from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ROOT / "protos"


def generate(target: Path) -> list[Path]:
    """Writes all stubs below `target` and answers their paths relative to it."""
    sources = sorted(str(path.relative_to(PROTOS)) for path in PROTOS.rglob("*.proto"))
    well_known = Path(grpc_tools.__file__).parent / "_proto"
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
    stubs = sorted(path for path in target.rglob("*_pb2*.py*") if path.suffix in {".py", ".pyi"})
    for stub in stubs:
        # protoc knows the proto's folder only; our package lies one folder higher.
        text = re.sub(r"^(from|import) webhook\.v1\b", r"\1 protos.webhook.v1", stub.read_text(), flags=re.MULTILINE)
        text = re.sub(r"(?<![\w.])webhook\.v1\.(\w+_pb2)", r"protos.webhook.v1.\1", text)
        stub.write_text(text)
    return [stub.relative_to(target) for stub in stubs]


def main() -> None:
    """Writes the stubs, or compares them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare with the committed stubs instead of writing")
    if not parser.parse_args().check:
        sys.stdout.write(f"{len(generate(PROTOS))} stubs written\n")
        return
    with tempfile.TemporaryDirectory() as folder:
        stubs = generate(Path(folder))
        stale = [
            str(stub)
            for stub in stubs
            if not (PROTOS / stub).exists() or not filecmp.cmp(PROTOS / stub, Path(folder) / stub, shallow=False)
        ]
    if stale:
        sys.exit("stubs differ from the protos, run 'make protos': " + ", ".join(stale))
    sys.stdout.write(f"{len(stubs)} stubs match the protos\n")


if __name__ == "__main__":
    main()
