"""Run the parts that are named, or all of them: python -m dev.shape [catalog …]."""

import importlib
import pkgutil
import sys
import time
from collections.abc import Sequence

import dev.shape

# Modules that others use.
_HELPERS = ("conformance", "documents", "filter_reference", "hostile_schemas", "hostile_templates", "report")


def parts() -> list[str]:
    """Return the names of all parts."""
    names = [module.name for module in pkgutil.iter_modules(dev.shape.__path__)]
    return [name for name in names if not name.startswith("_") and name not in _HELPERS]


def main(names: Sequence[str]) -> int:
    """Run parts one after the other; return the exit status."""
    failed = []
    for name in names or parts():
        sys.stdout.write(f"== {name}\n")
        began_at = time.monotonic()
        if not importlib.import_module(f"dev.shape.{name}").run():
            failed.append(name)
        sys.stdout.write(f"{time.monotonic() - began_at:.0f} s\n\n")
    sys.stdout.write(f"failed: {', '.join(failed)}\n" if failed else "everything is as it should be\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
