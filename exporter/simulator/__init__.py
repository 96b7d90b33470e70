"""A Telnyx look-alike: seeded sessions that begin, grow and are rated late, and the API that shows them.

Owns a world that is the same for the same seed, its time, its API and its truth: the exact sums that anybody who
follows all sessions must arrive at. It knows nothing of the exporter but its record types and its money, and answers
only what the real API would; what it knows more is under `/_truth`, `/_sessions` and `/_clock`. Read `shapes` for what
happens, `drafting` for when it is billed, `world` for what is true, `tree` for what is shown.
"""

from exporter.simulator.clock import AcceleratedClock
from exporter.simulator.serving import Running, Simulator, running, serve
from exporter.simulator.settings import Settings
from exporter.simulator.world import DOCUMENTED_ID, Ref, Total, Truth, World

__all__ = [
    "DOCUMENTED_ID",
    "AcceleratedClock",
    "Ref",
    "Running",
    "Settings",
    "Simulator",
    "Total",
    "Truth",
    "World",
    "running",
    "serve",
]
