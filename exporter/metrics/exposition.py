"""From families and values to the lines that Prometheus reads, in text 0.0.4 and OpenMetrics 1.0.0.

Owns the bytes of a line, the names and escapes of both formats, and which format a client gets. Knows no clock, no
web and no state: whoever calls keeps the lines and joins them. The surprising fact: sample lines are the same in both
formats, so a page in either differs only in its heads, its exemplars and the last line.
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
"""OpenMetrics 1.0.0: the names and values of an exemplar's labels together; a scraper refuses the page beyond it."""


class MetricsPage(Struct, frozen=True):
    """One finished exposition of everything but process_* and python_*; OpenMetrics without its `# EOF`."""

    version: int
    """Grows with each page; two pages of one version are the same bytes."""
    text_parts: tuple[bytes, ...]
    openmetrics_parts: tuple[bytes, ...]
    """In pieces, which one page shares with the next and one format with the other; whoever is asked joins them."""
    own: "MetricsPage | None" = None
    """The same without the ledger's families, for as long as another process exposes those."""

    @property
    def text(self) -> bytes:
        return b"".join(self.text_parts)

    @property
    def openmetrics(self) -> bytes:
        return b"".join(self.openmetrics_parts)

    def parts(self, form: "Format") -> tuple[bytes, ...]:
        return self.openmetrics_parts if form is Format.OPENMETRICS else self.text_parts


class Format(Enum):
    """What can be asked for; the value is the Content-Type, to the letter: Prometheus 3 fails a scrape over it."""

    TEXT = "text/plain; version=0.0.4; charset=utf-8"
    OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


# Lines

_LABEL_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})
_TEXT_HELP_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n"})


def head(family: Family, *, openmetrics: bool) -> bytes:
    """The # HELP and # TYPE lines of a family."""
    name = family.name.removesuffix("_total") if openmetrics and family.kind == "counter" else family.name
    text = family.help.translate(_LABEL_ESCAPES if openmetrics else _TEXT_HELP_ESCAPES)
    return _utf8(f"# HELP {name} {text}\n# TYPE {name} {family.kind}\n")


def prefix(name: str, pairs: Iterable[tuple[str, str]]) -> bytes:
    """A sample line up to its value: the part that is worth keeping."""
    labels = _labels(pairs)
    return _utf8(f"{name}{{{labels}}} " if labels else f"{name} ")


def number(value: Decimal | float) -> bytes:
    """A value as it is printed: decimals and integers plain and without an exponent, floats as short as they can be."""
    if isinstance(value, Decimal):
        return amount_text(value).encode("ascii")
    if isinstance(value, int):
        return b"%d" % value
    return _float_text(value).encode("ascii")


def sample(start: bytes, value: Decimal | float, mark: bytes = b"") -> bytes:
    """One finished line; `start` comes from `prefix`, `mark` from `exemplar` and goes to OpenMetrics only."""
    return b"%b%b%b\n" % (start, number(value), mark)


def exemplar(pairs: Iterable[tuple[str, str]], value: Decimal | float, timestamp: float) -> bytes:
    """What follows a bucket's or counter's value in OpenMetrics; nothing where the labels are too long to be legal."""
    pairs = tuple(pairs)
    if sum(len(name) + len(text) for name, text in pairs) > EXEMPLAR_CHARACTERS_MAX:
        return b""
    return b" # %b %b %b" % (_utf8(f"{{{_labels(pairs)}}}"), number(value), number(timestamp))


class HistogramPrefix(Struct, frozen=True):
    """The prefixes of all lines of one histogram."""

    buckets: tuple[bytes, ...]
    """The last is that of +Inf."""
    sum: bytes
    count: bytes


def histogram_prefix(name: str, pairs: Iterable[tuple[str, str]], bounds: Sequence[float]) -> HistogramPrefix:
    """`bounds` rise and leave out +Inf, as in the catalogue."""
    pairs = tuple(pairs)
    return HistogramPrefix(
        tuple(prefix(f"{name}_bucket", (*pairs, ("le", bound_text(bound)))) for bound in (*bounds, math.inf)),
        prefix(f"{name}_sum", pairs),
        prefix(f"{name}_count", pairs),
    )


def histogram(
    start: HistogramPrefix, counts: Sequence[int], total: Decimal | float, marks: Mapping[int, bytes] | None = None
) -> bytes:
    """All lines of one histogram.

    `counts` has the observations of each bucket by itself, +Inf last; `marks` the exemplars by the bucket's index.
    """
    marks = marks or {}
    cumulative = list(accumulate(counts))
    buckets = (
        sample(line, count, marks.get(index, b""))
        for index, (line, count) in enumerate(zip(start.buckets, cumulative, strict=True))
    )
    return b"".join(chain(buckets, (sample(start.sum, total), sample(start.count, cumulative[-1]))))


_EXPONENT_FROM = 1_000_000
"""Go writes large floats with an exponent from here on, Python only from 1e16."""


def bound_text(bound: float) -> str:
    """The `le` of a bucket as client_python prints it: a series is known by these letters."""
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


def _float_text(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return repr(value + 0.0)  # adding zero makes -0.0 plain


def _utf8(line: str) -> bytes:
    # JSON can carry half of a surrogate pair; one such label must not cost the whole page.
    return line.encode("utf-8", "replace")


# Negotiation

_QUALITY = re.compile(r"0(\.[0-9]*)?|1(\.0*)?")


def negotiate(accept: str | None) -> Format:
    """The format for an Accept header; whatever can't be understood or met gets text 0.0.4, never a refusal.

    Versions and escaping schemes are not weighed: OpenMetrics 2.0 or 0.0.1 asked for is 1.0.0 given, and labelled so.
    """
    wanted = _preferences(accept)
    openmetrics = wanted.get("application/openmetrics-text", 0.0)
    text = wanted.get("text/plain", wanted.get("text/*", wanted.get("*/*", 0.0)))
    return Format.OPENMETRICS if openmetrics > 0 and openmetrics >= text else Format.TEXT


def accepts_gzip(accept_encoding: str | None) -> bool:
    """Whether an Accept-Encoding header allows gzip and doesn't prefer the plain bytes."""
    wanted = _preferences(accept_encoding)
    compressed = wanted.get("gzip", wanted.get("*", 0.0))
    return compressed > 0 and compressed >= wanted.get("identity", 0.0)


def _preferences(header: str | None) -> dict[str, float]:
    """Each named thing with its best quality; parts that can't be read are left out."""
    best: dict[str, float] = {}
    for part in (header or "").lower().split(","):
        name, *parameters = (word.strip() for word in part.split(";"))
        quality = _quality(parameters)
        if quality is not None:
            best[name] = max(quality, best.get(name, 0.0))
    return best


def _quality(parameters: Iterable[str]) -> float | None:
    """1 where nothing is said, None where nonsense is."""
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key.strip() == "q":
            return float(value) if _QUALITY.fullmatch(value.strip()) else None
    return 1.0
