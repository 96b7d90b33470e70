"""A Telnyx look-alike: seeded sessions that begin, grow and are rated late, and the API that shows them.

Owns a world that is the same for the same seed, its time, its API and its truth: the exact sums that anybody who
follows all sessions must arrive at. It knows nothing of the exporter but its record types and its money, and answers
only what the real API would. What it knows more is under `/_truth`, `/_sessions` and `/_clock`; it misbehaves as
`/_faults` is told. Read `shapes` for what happens, `drafting` for when it is billed, `bills` for what becomes of the
bill, `world` for what is true, `tree` for what is shown, `faults` for what is spoilt on the way.
"""

from exporter.simulator.clock import AcceleratedClock
from exporter.simulator.serving import Running, Simulator, running, serve
from exporter.simulator.settings import FAULT_KINDS, Bills, Faults, Settings
from exporter.simulator.world import DOCUMENTED_ID, Ref, Total, Truth, World

__all__ = [
    "DOCUMENTED_ID",
    "FAULT_KINDS",
    "AcceleratedClock",
    "Bills",
    "Faults",
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
