"""Write families and values as the lines of text 0.0.4 and OpenMetrics 1.0.0, and choose the format for a client.

Keeps no state. Sample lines are the same in both formats; pages differ only in their heads, exemplars and last line.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from enum import Enum
from itertools import accumulate, chain

from msgspec import Struct

from exporter.core.catalog import Family
from exporter.core.money import amount_text

EXEMPLAR_CHARACTERS_MAX = 128
"""Limit of OpenMetrics 1.0.0 on an exemplar's label names and values together; a scraper refuses a page beyond it."""


class MetricsPage(Struct, frozen=True):
    """One finished exposition without process_* and python_* families; OpenMetrics lacks its `# EOF`."""

    version: int
    """Grows with each page; two pages of one version have the same bytes."""
    text_parts: tuple[bytes, ...]
    openmetrics_parts: tuple[bytes, ...]
    """Unjoined: a page shares unchanged parts with the page before, and one format with the other."""
    own: "MetricsPage | None" = None
    """The page without the ledger's families, served while another process exposes those."""

    @property
    def text(self) -> bytes:
        return b"".join(self.text_parts)

    @property
    def openmetrics(self) -> bytes:
        return b"".join(self.openmetrics_parts)

    def parts(self, form: "Format") -> tuple[bytes, ...]:
        return self.openmetrics_parts if form is Format.OPENMETRICS else self.text_parts


class Format(Enum):
    """A format, with its exact Content-Type; Prometheus 3 fails a scrape with any other."""

    TEXT = "text/plain; version=0.0.4; charset=utf-8"
    OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


# Lines

_LABEL_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})
_TEXT_HELP_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n"})


def head(family: Family, *, openmetrics: bool) -> bytes:
    """Return the # HELP and # TYPE lines of a family."""
    name = family.name.removesuffix("_total") if openmetrics and family.kind == "counter" else family.name
    text = family.help.translate(_LABEL_ESCAPES if openmetrics else _TEXT_HELP_ESCAPES)
    return _utf8(f"# HELP {name} {text}\n# TYPE {name} {family.kind}\n")


def prefix(name: str, pairs: Iterable[tuple[str, str]]) -> bytes:
    """Return a sample line up to its value."""
    labels = _labels(pairs)
    return _utf8(f"{name}{{{labels}}} " if labels else f"{name} ")


def number(value: Decimal | float) -> bytes:
    """Print a value: decimals and integers without an exponent, floats in their shortest form."""
    if isinstance(value, Decimal):
        return amount_text(value).encode("ascii")
    if isinstance(value, int):
        return b"%d" % value
    if math.isnan(value):
        return b"NaN"
    if math.isinf(value):
        return b"+Inf" if value > 0 else b"-Inf"
    return repr(value + 0.0).encode("ascii")  # adding zero turns -0.0 into 0.0


def sample(start: bytes, value: Decimal | float, mark: bytes = b"") -> bytes:
    """Return a finished line; `start` is from `prefix`, `mark` from `exemplar` and only for OpenMetrics."""
    return b"%b%b%b\n" % (start, number(value), mark)


def exemplar(pairs: Iterable[tuple[str, str]], value: Decimal | float, timestamp: float) -> bytes:
    """Return the exemplar to append to a line in OpenMetrics; empty if its labels are over the format's limit."""
    pairs = tuple(pairs)
    if sum(len(name) + len(text) for name, text in pairs) > EXEMPLAR_CHARACTERS_MAX:
        return b""
    return b" # %b %b %b" % (_utf8(f"{{{_labels(pairs)}}}"), number(value), number(timestamp))


class HistogramPrefix(Struct, frozen=True):
    """The prefixes of all lines of a histogram."""

    buckets: tuple[bytes, ...]
    """+Inf last."""
    sum: bytes
    count: bytes


def histogram_prefix(name: str, pairs: Iterable[tuple[str, str]], bounds: Sequence[float]) -> HistogramPrefix:
    """Return the prefixes of a histogram; `bounds` rise and leave out +Inf, as in the catalogue."""
    pairs = tuple(pairs)
    return HistogramPrefix(
        tuple(prefix(f"{name}_bucket", (*pairs, ("le", bound_text(bound)))) for bound in (*bounds, math.inf)),
        prefix(f"{name}_sum", pairs),
        prefix(f"{name}_count", pairs),
    )


def histogram(
    start: HistogramPrefix, counts: Sequence[int], total: Decimal | float, marks: Mapping[int, bytes] | None = None
) -> bytes:
    """Return all lines of a histogram.

    `counts` has the observations per bucket, not cumulative, +Inf last; `marks` has the exemplars by bucket index.
    """
    marks = marks or {}
    cumulative = list(accumulate(counts))
    buckets = (
        sample(line, count, marks.get(index, b""))
        for index, (line, count) in enumerate(zip(start.buckets, cumulative, strict=True))
    )
    return b"".join(chain(buckets, (sample(start.sum, total), sample(start.count, cumulative[-1]))))


_EXPONENT_FROM = 1_000_000
"""From here on Go writes floats with an exponent; Python does so only from 1e16."""


def bound_text(bound: float) -> str:
    """Return the `le` of a bucket as client_python and Go print it: another text would be another series."""
    if math.isinf(bound):
        return "+Inf"
    text = repr(float(bound))
    whole, _, fraction = text.partition(".")
    if bound < _EXPONENT_FROM or "e" in text:
        return text
    digits = (whole + fraction).rstrip("0")
    mantissa = f"{digits[0]}.{digits[1:]}" if len(digits) > 1 else digits
    return f"{mantissa}e+{len(whole) - 1:02d}"


def _labels(pairs: Iterable[tuple[str, str]]) -> str:
    return ",".join([f'{name}="{text.translate(_LABEL_ESCAPES)}"' for name, text in pairs])


def _utf8(line: str) -> bytes:
    # JSON can carry half a surrogate pair; one such label must not fail the whole page.
    return line.encode("utf-8", "replace")


# Negotiation

_QUALITY = re.compile(r"0(\.[0-9]*)?|1(\.0*)?")


def negotiate(accept: str | None) -> Format:
    """Return the format for an Accept header; text 0.0.4 if the header can't be understood or met.

    Versions and escaping schemes don't count: a request for OpenMetrics 2.0 or 0.0.1 gets 1.0.0, and is told so.
    """
    wanted = _preferences(accept)
    openmetrics = wanted.get("application/openmetrics-text", 0.0)
    text = wanted.get("text/plain", wanted.get("text/*", wanted.get("*/*", 0.0)))
    return Format.OPENMETRICS if openmetrics > 0 and openmetrics >= text else Format.TEXT


def accepts_gzip(accept_encoding: str | None) -> bool:
    """Return whether an Accept-Encoding header allows gzip and doesn't prefer plain bytes."""
    wanted = _preferences(accept_encoding)
    compressed = wanted.get("gzip", wanted.get("*", 0.0))
    return compressed > 0 and compressed >= wanted.get("identity", 0.0)


def _preferences(header: str | None) -> dict[str, float]:
    """Return the best quality of each name in a header, 1 by default; parts that can't be read are left out."""
    best: dict[str, float] = {}
    for part in (header or "").lower().split(","):
        name, *parameters = (word.strip() for word in part.split(";"))
        quality = "1"
        for parameter in reversed(parameters):  # the first `q` counts
            key, _, value = parameter.partition("=")
            if key.strip() == "q":
                quality = value.strip()
        if _QUALITY.fullmatch(quality):
            best[name] = max(float(quality), best.get(name, 0.0))
    return best
