"""Simulate Telnyx: seeded sessions that start, grow and are rated late, and the API that returns them.

The same seed gives the same sessions. Beside the API it serves the exact sums that an exporter must arrive at
(`/_truth`), and controls for tests: `/_sessions`, `/_clock`, `/_faults`, `/_quotas`, `/_webhooks`. It uses nothing of
the exporter but its record types and its money. Start with `world`; `shapes` decides which sessions there are,
`session_builder` when they are billed, `bills` how bills change later, `behaviour` how the API answers, `serving` puts
everything together.
"""

from simulator.behaviour import MIXED, WORLD_A, WORLD_B, WORLDS, ApiBehaviour
from simulator.clock import AcceleratedClock
from simulator.serving import Running, Simulator, running, serve
from simulator.settings import FAULT_KINDS, QUOTAS, Bills, Faults, SimulatedWebhooks, SimulatorSettings
from simulator.truth import Truth, TruthTotal
from simulator.webhooks import Signer
from simulator.world import DOCUMENTED_ID, Ref, World

__all__ = [
    "DOCUMENTED_ID",
    "FAULT_KINDS",
    "MIXED",
    "QUOTAS",
    "WORLDS",
    "WORLD_A",
    "WORLD_B",
    "AcceleratedClock",
    "ApiBehaviour",
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
