"""What can be chosen about a simulated world and its API.

Owns the settings and their defaults. The surprising fact: the start of session time is a setting as well, a fixed
date, so that two runs with one seed are the same to the byte.
"""

from msgspec import Struct

START = 1_773_748_800.0
"""2026-03-17T12:00:00Z, two hours after the documented example's call."""


class Settings(Struct, frozen=True, kw_only=True):
    """Everything that makes one simulated world differ from another."""

    seed: int = 1
    start: float = START
    """Session time at the start, seconds since the epoch."""
    speed: float = 1.0
    """Session seconds per real second; with 0 time stands still until it is stepped."""
    history_seconds: float = 0.0
    """How long before the start the first session begins."""
    sessions_per_hour: float = 120.0
    sessions_max: int | None = None
    """After so many sessions no more begin; None: they never end."""
    rating_delay_scale: float = 1.0
    """Multiplies how late events are rated; with 0 an event exists as soon as it has ended."""
    currencies: tuple[str, ...] = ("USD",)
    """Each session is billed in one of them."""
    documented_example: bool = False
    """The call of Telnyx's guide is a session too."""
    api_key: str = "KEY-simulator"
    requests_per_second: int = 1000
    """The API answers so many requests in each second, and 429 to the others."""

    def __post_init__(self) -> None:
        limits = (
            ("history_seconds", self.history_seconds >= 0, "at least 0"),
            ("sessions_per_hour", self.sessions_per_hour > 0, "more than 0"),
            ("rating_delay_scale", self.rating_delay_scale >= 0, "at least 0"),
            ("currencies", len(self.currencies) > 0, "at least one"),
            ("requests_per_second", self.requests_per_second >= 1, "at least 1"),
        )
        for name, holds, expected in limits:
            if not holds:
                raise ValueError(f"{name}: expected {expected}, got {getattr(self, name)!r}")
