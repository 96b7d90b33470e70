"""Dashboards as code: catalogue in, grafana/dashboards/*.json out.

Owns the four dashboards; each is a module of panels. `queries` knows how families are asked, `panels` how things look,
`board` what dashboards have in common. Not part of a running exporter: the files are generated, checked in and shipped,
and only generating them needs Grafana's SDK, a dependency of development.
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
"""By the file's name."""


def written(board: Board) -> str:
    """The dashboard as its file has it."""
    return json.dumps(board.build(), cls=JSONEncoder, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
