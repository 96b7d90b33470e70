"""The finished lines of one family, joined in parts of some kilobytes.

A part without a change is not joined again, and stays the same object, so that its compressed form can be reused.
"""

Values = tuple[str, ...]
"""Label values of a series, in the order of the family's labels."""

Parts = tuple[bytes, ...]

PART_LINES = 64
"""Some 8 kB. Smaller parts are too many; of a larger part more is joined and compressed for each changed line."""


class Lines:
    """The lines of all series of a family; the lines of a histogram count as one."""

    def __init__(self, lines_per_series: int) -> None:
        self._size = max(1, PART_LINES // lines_per_series)
        self._index: dict[Values, int] = {}
        self._lines: list[bytes] = []
        self._with_exemplars: dict[int, bytes] = {}
        """OpenMetrics lines where they differ from the text format."""
        self._free: list[int] = []
        """Indexes of dropped series. The next new series takes one; closing the gap would change every later part."""
        self._text: list[bytes] = []
        self._openmetrics: list[bytes] = []
        self._changed_parts: set[int] = set()

    def set_value(self, labels: Values, value: bytes) -> bool:
        """Replace only the value of a series' line; return False if the series has no line yet."""
        index = self._index.get(labels)
        if index is None:
            return False
        line = self._lines[index]
        # A printed value holds no space, so the last space ends the prefix. Keeping all prefixes apart would double
        # the memory of a large page.
        self._lines[index] = b"%b%b\n" % (line[: line.rindex(b" ") + 1], value)
        self._changed_parts.add(index // self._size)
        return True

    def set(self, labels: Values, line: bytes, with_exemplars: bytes | None = None) -> None:
        """Set the line of a series; `with_exemplars` is the OpenMetrics form if it differs."""
        index = self._index.get(labels)
        if index is None:
            if self._free:
                index = self._free.pop()
            else:
                index = len(self._lines)
                self._lines.append(b"")
            self._index[labels] = index
        self._lines[index] = line
        if with_exemplars is not None:
            self._with_exemplars[index] = with_exemplars
        else:
            self._with_exemplars.pop(index, None)
        self._changed_parts.add(index // self._size)

    def drop(self, labels: Values) -> None:
        """Remove the line of a series, if it has one."""
        index = self._index.pop(labels, None)
        if index is not None:
            self._lines[index] = b""
            self._with_exemplars.pop(index, None)
            self._free.append(index)
            self._changed_parts.add(index // self._size)

    def parts(self) -> tuple[Parts, Parts]:
        """Return all lines in text 0.0.4 and in OpenMetrics."""
        missing = -(-len(self._lines) // self._size) - len(self._text)
        self._text += [b""] * missing
        self._openmetrics += [b""] * missing
        for part in self._changed_parts:
            first = part * self._size
            lines = self._lines[first : first + self._size]
            self._text[part] = self._openmetrics[part] = b"".join(lines)
            differing = self._with_exemplars.keys() & range(first, first + len(lines)) if self._with_exemplars else ()
            for index in differing:
                lines[index - first] = self._with_exemplars[index]
            if differing:
                self._openmetrics[part] = b"".join(lines)
        self._changed_parts.clear()
        return tuple(self._text), tuple(self._openmetrics)
