"""One session's samples in Prometheus's formats, after the two families that every prober answers with.

The two families have the names that blackbox_exporter gave them. The samples are the lines that /metrics would show.
"""

from exporter.core.catalog import Family
from exporter.explain.explanation import Explanation
from exporter.metrics.exposition import Format, head, prefix, sample

SUCCESS = Family("probe_success", "gauge", "process", (), "Displays whether or not the probe was a success.")
DURATION = Family(
    "probe_duration_seconds", "gauge", "process", (), "Returns how long the probe took to complete in seconds."
)


def probe_exposition(explanation: Explanation, seconds: float, form: Format) -> bytes:
    """Return the answer to a probe that took `seconds` in all; without a session it has only the two families."""
    blocks = (block.finished()[int(form is Format.OPENMETRICS)] for block in explanation.blocks())
    return _answer(form, seconds, b"".join(blocks), success=explanation.result.succeeded)


def failed_exposition(seconds: float, form: Format) -> bytes:
    """Return the answer to a probe that did not end in time."""
    return _answer(form, seconds, success=False)


def terminal_exposition(explanation: Explanation) -> str:
    """Return the answer in OpenMetrics; characters that can't be printed, which the format can't escape, replaced."""
    lines = probe_exposition(explanation, explanation.result.seconds, Format.OPENMETRICS).decode().split("\n")
    return "\n".join("".join(c if c.isprintable() else "\ufffd" for c in line) for line in lines)


def _answer(form: Format, seconds: float, families: bytes = b"", *, success: bool) -> bytes:
    openmetrics = form is Format.OPENMETRICS
    own = b"".join(
        head(family, openmetrics=openmetrics) + sample(prefix(family.name, ()), value)
        for family, value in ((SUCCESS, int(success)), (DURATION, round(seconds, 6)))
    )
    return own + families + (b"# EOF\n" if openmetrics else b"")
