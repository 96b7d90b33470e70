"""Explain one session: its requests, tree, checks, metric samples, and the rule behind each sample.

A probe reads one session from the API and books nothing. Its samples come from the real accounting, run in a temporary
ledger in memory, so they cannot disagree with /metrics. `/probe` and the command `session` show the result.
"""

from collections.abc import Callable, Mapping

from exporter.explain.csv_table import csv_table
from exporter.explain.explanation import Explanation, ProbeResult
from exporter.explain.exposition import failed_exposition, probe_exposition, terminal_exposition
from exporter.explain.json_document import json_document
from exporter.explain.prober import Prober
from exporter.explain.sanitise import TEXT_MAX
from exporter.explain.text import full_text, session_text

__all__ = [
    "FORMS",
    "TEXT_MAX",
    "Explanation",
    "ProbeResult",
    "Prober",
    "failed_exposition",
    "full_text",
    "probe_exposition",
]

FORMS: Mapping[str, Callable[[Explanation], str]] = {
    "tree": session_text,
    "json": json_document,
    "csv": csv_table,
    "openmetrics": terminal_exposition,
}
"""The output formats of the command `session`; all but `json` need a session that was read."""
