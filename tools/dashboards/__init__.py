"""Generator of the Grafana dashboards: `make docs` writes grafana/dashboards/*.json from these modules.

Each dashboard is a module of panels. `queries` builds PromQL, `panels` sets the look, `board` adds what all dashboards
share. Needs Grafana's SDK, a development dependency; no part of the exporter.
"""

import json

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from tools.dashboards import ai, cost, health, sessions
from tools.dashboards.board import Board

BOARDS: dict[str, Board] = {
    "cost-overview": cost.BOARD,
    "ai-sessions": ai.BOARD,
    "session-explorer": sessions.BOARD,
    "exporter-health": health.BOARD,
}
"""Dashboards by file name, without .json."""


def written(board: Board) -> str:
    """Return the content of the dashboard's file."""
    return json.dumps(board.build(), cls=JSONEncoder, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
