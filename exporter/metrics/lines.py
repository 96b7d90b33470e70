"""The finished lines of one family, in parts of some kilobytes.

Owns which line stands where, and the bytes of each part in both formats. A part in which nothing has changed is not
joined again, however many pages are made. The surprising fact: a series that ends leaves a hole for the next one that
begins; to close up would change every part behind it.
"""

Values = tuple[str, ...]
"""Label values of a series, in the order of the family's labels."""

Parts = tuple[bytes, ...]

PART_LINES = 64
"""Some 8 kB: smaller parts are many to hand over, of larger ones more has to be joined for each line that changes."""


class Lines:
    """The lines of all series of a family; those of a histogram count as one."""

    def __init__(self, lines_each: int) -> None:
        self._size = max(1, PART_LINES // lines_each)
        self._top_sessions: dict[Values, int] = {}
        self._lines: list[bytes] = []
        self._marked: dict[int, bytes] = {}
        """Lines with exemplars, where they differ from those without."""
        self._holes: list[int] = []
        self._text: list[bytes] = []
        self._openmetrics: list[bytes] = []
        self._touched: set[int] = set()

    def revalue(self, labels: Values, value: bytes) -> bool:
        """Swap in another value behind what a line begins with; False if the series has no line yet."""
        place = self._top_sessions.get(labels)
        if place is None:
            return False
        line = self._lines[place]
        # No value has a space in it, so the line itself keeps its prefix, which is the dearest thing in memory.
        self._lines[place] = b"%b%b\n" % (line[: line.rindex(b" ") + 1], value)
        self._touched.add(place // self._size)
        return True

    def put(self, labels: Values, line: bytes, marked: bytes | None = None) -> None:
        """Swap in a line; `marked` is what it is in OpenMetrics, if that differs."""
        place = self._top_sessions.get(labels)
        if place is None:
            place = self._top_sessions[labels] = self._begin()
        self._lines[place] = line
        if marked is not None:
            self._marked[place] = marked
        elif self._marked:
            self._marked.pop(place, None)
        self._touched.add(place // self._size)

    def _begin(self) -> int:
        if self._holes:
            return self._holes.pop()
        self._lines.append(b"")
        return len(self._lines) - 1

    def drop(self, labels: Values) -> None:
        place = self._top_sessions.pop(labels, None)
        if place is not None:
            self._lines[place] = b""
            self._marked.pop(place, None)
            self._holes.append(place)
            self._touched.add(place // self._size)

    def parts(self) -> tuple[Parts, Parts]:
        """All lines in text 0.0.4 and in OpenMetrics."""
        missing = -(-len(self._lines) // self._size) - len(self._text)
        self._text += [b""] * missing
        self._openmetrics += [b""] * missing
        for part in self._touched:
            first = part * self._size
            lines = self._lines[first : first + self._size]
            text = self._text[part] = b"".join(lines)
            marks = (
                [place for place in range(first, first + len(lines)) if place in self._marked] if self._marked else []
            )
            for place in marks:
                lines[place - first] = self._marked[place]
            self._openmetrics[part] = b"".join(lines) if marks else text
        self._touched.clear()
        return tuple(self._text), tuple(self._openmetrics)
