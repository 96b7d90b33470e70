"""The lines of a family in parts: always exactly the lines of its series."""

from hypothesis import given
from hypothesis import strategies as st

from exporter.core.catalog import Family
from exporter.metrics.block import FamilyBlock
from exporter.metrics.lines import PART_LINES, Lines

MANY = 3 * PART_LINES
names = st.integers(min_value=0, max_value=MANY).map(lambda number: (f"m{number}",))
steps = st.lists(
    st.tuples(st.just("put"), names, st.integers(0, 9), st.booleans())
    | st.tuples(st.just("drop"), names, st.just(0), st.just(False))
    | st.tuples(st.just("parts"), st.just(()), st.just(0), st.just(False)),
    max_size=60,
)


def filled(series: int = MANY) -> tuple[Lines, dict[tuple[str, ...], tuple[bytes, bytes]]]:
    """Return lines, and the expected lines in both formats."""
    lines = Lines(1)
    expected: dict[tuple[str, ...], tuple[bytes, bytes]] = {}
    for number in range(series):
        line = b"m%d 0\n" % number
        lines.set((f"m{number}",), line)
        expected[f"m{number}",] = line, line
    return lines, expected


@given(steps)
def test_parts_are_the_lines(drawn: list[tuple[str, tuple[str, ...], int, bool]]) -> None:
    """After any puts and drops, and any parts made in between, the parts hold each line once, in both formats."""
    lines, expected = filled()
    for what, labels, value, marked in drawn:
        if what == "put":
            line = f"{labels[0]} {value}\n".encode()
            mark = b"%b # mark\n" % line.rstrip() if marked else None
            lines.set(labels, line, mark)
            expected[labels] = line, mark or line
        elif what == "drop":
            lines.drop(labels)
            expected.pop(labels, None)
        else:
            lines.parts()
    for place, parts in enumerate(lines.parts()):
        found = b"".join(parts).splitlines(keepends=True)
        assert sorted(found) == sorted(pair[place] for pair in expected.values())


def test_untouched_parts_are_the_same_objects() -> None:
    """Only the part with the changed line is joined again; without exemplars both formats are one object."""
    lines, _ = filled()
    before, _ = lines.parts()
    assert lines.set_value(("m0",), b"7")
    after, openmetrics = lines.parts()
    assert [old is new for old, new in zip(before, after, strict=True)] == [False, True, True]
    assert all(text is marked for text, marked in zip(after, openmetrics, strict=True))


def test_holes_are_filled() -> None:
    """Series that come and go take no more memory than those that exist at a time."""
    lines, _ = filled(PART_LINES)
    for number in range(1000):
        lines.set((f"guest{number}",), b"guest 1\n")
        lines.drop((f"guest{number}",))
    assert len(lines.parts()[0]) == 2


def test_values_of_labels_with_spaces() -> None:
    """A label value may have spaces, backslashes and what looks like a value; only the value is replaced."""
    block = FamilyBlock(Family("telnyx_x", "gauge", "process", ("model",), "Help."), ("model",))
    for value in (1, 2.5, 3):
        block.set(('a b" 7} 8\n',), value)
        text, openmetrics = block.finished()
        assert text.endswith(b'\ntelnyx_x{model="a b\\" 7} 8\\n"} %s\n' % str(value).encode())
        assert openmetrics.endswith(text[text.index(b"telnyx_x{") :])
