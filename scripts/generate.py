"""Write every generated file of the repository: `make generate`.

    python -m scripts.generate [--check]

The published addresses, the stubs of the protos, the types and operations of the SDKs, the chart's settings, schema and
README, and its dashboards. --check writes nothing and fails when a file has drifted.
"""

import importlib
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Each has `files()`. In this order: the chart is made from its values, and from the services, which import the stubs.
MAKERS = (
    "scripts.release.publishing",
    "scripts.protos",
    "scripts.chart",
    "scripts.sdk.python",
    "scripts.sdk.typescript",
    "scripts.sdk.go",
    "dev.boards.files",
)
# Files here that no maker makes are left over from a board or a proto that is gone.
OWNED = ("charts/webhook-service/files/dashboards/*", "protos/webhook/**/*_pb2*.py", "protos/webhook/**/*_pb2*.pyi")


def main() -> None:
    """Write what has drifted, or with --check name it and fail."""
    check = sys.argv[1:] == ["--check"]
    # protoc looks for its plugins beside this Python.
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    made: dict[Path, str] = {}
    drifted: list[Path] = []
    for maker in MAKERS:
        files: dict[Path, str] = importlib.import_module(maker).files()
        made |= files
        for path, text in files.items():
            if not path.exists() or path.read_text() != text:
                drifted.append(path)
                if not check:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_text(text)
    left_over = [path for pattern in OWNED for path in ROOT.glob(pattern) if path not in made]
    names = ", ".join(str(path.relative_to(ROOT)) for path in (*drifted, *left_over))
    if not check:
        for path in left_over:
            path.unlink()
        sys.stdout.write(f"{len(made)} generated files, changed: {names or 'none'}\n")
    elif names:
        sys.exit(f"generated files have drifted: {names}. Run `make generate` and commit the result.")
    else:
        sys.stdout.write(f"{len(made)} generated files are current\n")


if __name__ == "__main__":
    main()
