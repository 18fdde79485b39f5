"""Grafana's dashboards of the chart, made from the boards in dev/boards.

    python -m dev.boards [--check]

Writes charts/webhook-service/files/dashboards/NAME.json. --check only says what has drifted.
"""

import json
import sys
from pathlib import Path

from dev.boards import grafana, overview, services, stores, subscriptions

FOLDER = Path(__file__).resolve().parents[2] / "charts/webhook-service/files/dashboards"
BOARDS = (overview.BOARD, subscriptions.BOARD, services.BOARD, stores.BOARD)


def files() -> dict[Path, str]:
    """What each file should hold."""
    return {
        FOLDER / f"{board.name}.json": json.dumps(grafana.document(board), indent=2, ensure_ascii=False) + "\n"
        for board in BOARDS
    }


def main() -> None:
    """Writes what has drifted, or with --check names it and exits with status 1."""
    made = files()
    drifted = [path for path, text in made.items() if not path.exists() or path.read_text() != text]
    left_over = sorted(set(FOLDER.glob("*")) - made.keys())
    if sys.argv[1:] == ["--check"]:
        if drifted or left_over:
            named = ", ".join(path.name for path in (*drifted, *left_over))
            sys.exit(f"{named} drifted: python -m dev.boards writes what dev/boards says")
        return
    FOLDER.mkdir(exist_ok=True)
    for path in left_over:
        path.unlink()
    for path in drifted:
        path.write_text(made[path])
        sys.stdout.write(f"wrote {path.name}\n")


if __name__ == "__main__":
    main()
