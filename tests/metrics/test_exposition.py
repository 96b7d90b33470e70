"""The lines of an exposition, byte by byte."""

import math
import subprocess
from decimal import Decimal
from pathlib import Path

import pytest

from exporter.core.catalog import Family
from exporter.metrics.exposition import (
    EXEMPLAR_CHARACTERS_MAX,
    bound_text,
    exemplar,
    head,
    histogram,
    histogram_prefix,
    number,
    prefix,
    sample,
)


@pytest.mark.parametrize(
    ("value", "printed"),
    [
        (Decimal("0.2128"), b"0.2128"),
        (Decimal("0.212800"), b"0.2128"),
        (Decimal("1E+3"), b"1000"),
        (Decimal("1E-12"), b"0.000000000001"),
        (Decimal("-0.00"), b"0"),
        (Decimal("-1.50"), b"-1.5"),
        (Decimal("999999999999.999999999999"), b"999999999999.999999999999"),
        (0, b"0"),
        (2**63, b"9223372036854775808"),
        (True, b"1"),
        (0.1, b"0.1"),
        (-0.0, b"0.0"),
        (1773705600.123, b"1773705600.123"),
        (math.inf, b"+Inf"),
        (-math.inf, b"-Inf"),
        (math.nan, b"NaN"),
    ],
)
def test_numbers(value: Decimal | float, printed: bytes) -> None:
    """Decimals and integers are plain; floats are in their shortest form, with Prometheus's NaN and infinity."""
    assert number(value) == printed


@pytest.mark.parametrize(
    ("bound", "printed"),
    [
        (0.005, "0.005"),
        (1, "1.0"),
        (2.5, "2.5"),
        (3600.0, "3600.0"),
        (999999.0, "999999.0"),
        (1000000.0, "1e+06"),
        (1234567.0, "1.234567e+06"),
        (1e16, "1e+16"),
        (math.inf, "+Inf"),
    ],
)
def test_bounds(bound: float, printed: str) -> None:
    """Bounds have a point, and an exponent from a million on."""
    assert bound_text(bound) == printed


@pytest.mark.parametrize(
    ("openmetrics", "printed"),
    [
        (False, b'# HELP telnyx_x_total Costs "so far" \\\\ net.\\nPolled.\n# TYPE telnyx_x_total counter\n'),
        (True, b'# HELP telnyx_x Costs \\"so far\\" \\\\ net.\\nPolled.\n# TYPE telnyx_x counter\n'),
    ],
)
def test_heads(openmetrics: bool, printed: bytes) -> None:
    """OpenMetrics names a counter's family without _total, and escapes quotes in HELP, which text 0.0.4 must not."""
    family = Family("telnyx_x_total", "counter", "ledger", (), 'Costs "so far" \\ net.\nPolled.')
    assert head(family, openmetrics=openmetrics) == printed


def test_histogram_lines() -> None:
    """Buckets are cumulative and end with +Inf, which equals _count; the exemplar stands on its own bucket."""
    start = histogram_prefix("telnyx_session_cost", [("session_kind", "ai")], (0.5, 1.0))
    marks = {1: exemplar([("event_id", "a-1")], Decimal("0.70"), 1773705600.5)}
    assert histogram(start, (3, 1, 2), Decimal("9.40"), marks).decode().splitlines() == [
        'telnyx_session_cost_bucket{session_kind="ai",le="0.5"} 3',
        'telnyx_session_cost_bucket{session_kind="ai",le="1.0"} 4 # {event_id="a-1"} 0.7 1773705600.5',
        'telnyx_session_cost_bucket{session_kind="ai",le="+Inf"} 6',
        'telnyx_session_cost_sum{session_kind="ai"} 9.4',
        'telnyx_session_cost_count{session_kind="ai"} 6',
    ]


def test_long_exemplars_are_left_out() -> None:
    """The labels of an exemplar may have 128 characters together; with one more there is no exemplar."""
    fits = "é" * (EXEMPLAR_CHARACTERS_MAX - len("event_id"))
    assert exemplar([("event_id", fits)], 1, 2.0).startswith(b' # {event_id="')
    assert exemplar([("event_id", fits + "x")], 1, 2.0) == b""


def test_half_a_surrogate_costs_no_page() -> None:
    """A label value that is no valid Unicode is shown with a replacement."""
    assert prefix("telnyx_x", [("model", "a\ud800b")]) == b'telnyx_x{model="a?b"} '


def test_promtool_accepts_strange_labels(promtool: Path) -> None:
    """Prometheus's own parser and linter accept a page with unusual label values."""
    family = Family("telnyx_x_total", "counter", "ledger", ("model",), 'Says "this" and \\ that.')
    strange = ['"', "\\", "\n", "\\n", "", "💸", "\t", "\x00", "a,b={}", " # {}"]
    lines = [sample(prefix(family.name, [("model", value)]), Decimal("0.1")) for value in strange]
    waits = Family("telnyx_wait_seconds", "histogram", "process", (), "Waits.", buckets=(0.1, 1e6))
    start = histogram_prefix(waits.name, (), waits.buckets)
    lines += [head(waits, openmetrics=False), histogram(start, (1, 2, 3), 4.5)]
    page = head(family, openmetrics=False) + b"".join(lines)
    done = subprocess.run([promtool, "check", "metrics"], input=page, capture_output=True, check=False, timeout=30)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
