"""What /probe answers: one session's samples as an exposition, behind the two families of every prober.

Owns those two, under the names that blackbox_exporter gave them. The samples are the lines that /metrics would show.
"""

from exporter.core.catalog import Family
from exporter.explain.story import Explanation
from exporter.metrics.exposition import Format, head, prefix, sample

SUCCESS = Family("probe_success", "gauge", "process", (), "Displays whether or not the probe was a success.")
DURATION = Family(
    "probe_duration_seconds", "gauge", "process", (), "Returns how long the probe took to complete in seconds."
)
FAMILIES = (SUCCESS, DURATION)


def page(story: Explanation, seconds: float, form: Format) -> bytes:
    """The exposition of a look that took so long in all; a failed one has its two own families alone."""
    place = int(form is Format.OPENMETRICS)
    blocks = [block.finished()[place] for block in story.blocks()]
    return _own(form, seconds, success=story.look.succeeded) + b"".join(blocks) + _end(form)


def terminal_page(story: Explanation) -> str:
    """The same in OpenMetrics, fit for a terminal: the format has no escape for what can't be printed."""
    lines = page(story, story.look.seconds, Format.OPENMETRICS).decode().split("\n")
    return "\n".join("".join(c if c.isprintable() else "\ufffd" for c in line) for line in lines)


def failure(seconds: float, form: Format) -> bytes:
    """The exposition of a probe that did not end in time."""
    return _own(form, seconds, success=False) + _end(form)


def _own(form: Format, seconds: float, *, success: bool) -> bytes:
    openmetrics = form is Format.OPENMETRICS
    values = (int(success), round(seconds, 6))
    return b"".join(
        head(family, openmetrics=openmetrics) + sample(prefix(family.name, ()), value)
        for family, value in zip(FAMILIES, values, strict=True)
    )


def _end(form: Format) -> bytes:
    return b"# EOF\n" if form is Format.OPENMETRICS else b""
