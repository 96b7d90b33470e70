"""A Telnyx look-alike: seeded sessions that begin, grow and are rated late, and the API that shows them.

Owns a world that is the same for the same seed, its time, its API and its truth: the exact sums that anybody who
follows all sessions must arrive at. It knows nothing of the exporter but its record types and its money, and answers
only what the real API would. What it knows more is under `/_truth`, `/_sessions` and `/_clock`; it misbehaves as
`/_faults` is told, and sends webhooks where `/_webhooks` says. Read `shapes` for what
happens, `drafting` for when it is billed, `bills` for what becomes of the bill, `truth` for what it must add up to,
`tree` and `records` for what is shown, `hooks` for what is sent, `faults` for what is spoilt on the way.
"""

from simulator.clock import AcceleratedClock
from simulator.serving import Running, Simulator, running, serve
from simulator.settings import FAULT_KINDS, Bills, Faults, SimulatedWebhooks, SimulatorSettings
from simulator.truth import Truth, TruthTotal
from simulator.webhooks import Signer
from simulator.world import DOCUMENTED_ID, Ref, World

__all__ = [
    "DOCUMENTED_ID",
    "FAULT_KINDS",
    "AcceleratedClock",
    "Bills",
    "Faults",
    "Ref",
    "Running",
    "Signer",
    "SimulatedWebhooks",
    "Simulator",
    "SimulatorSettings",
    "Truth",
    "TruthTotal",
    "World",
    "running",
    "serve",
]
