"""Everything that /metrics shows, from a commit of the ledger to a finished page.

Read `state` first: `Metrics` owns all values, and one thread changes it. `projection` maps the ledger's totals to the
configured labels, `zero_start` decides when a new series may show its value, `pending_cost` sums what it still holds
back, and `top_sessions` chooses the sessions with series of their own. `block` renders a family, `lines` keeps its
lines, and `exposition` writes both formats. `zero_series` names the series that exist from the start.
"""

from exporter.metrics.state import Metrics

__all__ = ["Metrics"]
