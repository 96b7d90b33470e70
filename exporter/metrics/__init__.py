"""Metric state: what the ledger committed and the process counted, as finished pages.

Owns every value that /metrics shows, between a commit and the page; one thread changes it. Read `state` first.
`projection` brings the ledger's totals under the labels configured now, `births` decides when a new series may show
its value and `unreleased` sums what is held back, `followed` which sessions have series of their own, `block` renders a
family and `lines` keeps its finished lines.
"""

from exporter.metrics.state import Metrics

__all__ = ["Metrics"]
