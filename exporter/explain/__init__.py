"""What one session is and what it yields: requests, tree, checks, samples, and the rule behind each sample.

Owns the look at one session that books nothing, and its forms: a picture, JSON, CSV, and the exposition that /probe
answers with. The samples come from the real accounting rooms, in a ledger in memory that is thrown away, so they are no
second opinion. Knows neither the web nor the command line, which both show these forms. Read `look.Prober` first. The
surprising fact: the session is booked twice, the second time when it would have settled, so that the histograms show.
"""

from collections.abc import Callable, Mapping

from exporter.explain.csv_table import table
from exporter.explain.json_document import document
from exporter.explain.page import failure, page, terminal_page
from exporter.explain.prober import Prober
from exporter.explain.sanitise import TEXT_MAX
from exporter.explain.story import Explanation, ProbeResult
from exporter.explain.text import picture, story_text

__all__ = ["FORMS", "TEXT_MAX", "Explanation", "ProbeResult", "Prober", "failure", "page", "story_text"]

FORMS: Mapping[str, Callable[[Explanation], str]] = {
    "tree": picture,
    "json": document,
    "csv": table,
    "openmetrics": terminal_page,
}
"""What a story with a session can be printed as."""
