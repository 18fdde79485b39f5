"""The dashboards as files of the chart, in Grafana's format."""

import json
from pathlib import Path

from dev.boards import grafana, overview, services, stores, subscriptions

FOLDER = Path(__file__).resolve().parents[2] / "charts/webhook-service/files/dashboards"
BOARDS = (overview.BOARD, subscriptions.BOARD, services.BOARD, stores.BOARD)


def files() -> dict[Path, str]:
    """Return the text of each dashboard by its path."""
    return {
        FOLDER / f"{board.name}.json": json.dumps(grafana.document(board), indent=2, ensure_ascii=False) + "\n"
        for board in BOARDS
    }
