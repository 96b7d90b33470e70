"""`record-types`: print the record types that Telnyx documents, with their products and children."""

import argparse

from exporter.core.record_types import RecordTypes

HEADING = ("RECORD TYPE", "GROUP", "PRODUCT", "CHILDREN (* not in the parent's cumulative cost)")


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add nothing: the command has no flags of its own."""


def run(arguments: argparse.Namespace) -> int:  # noqa: ARG001 - every command takes the arguments
    rows = [HEADING]
    for known in RecordTypes.documented():
        children = " ".join(f"{child.child}{'' if child.cost_rollup else '*'}" for child in known.children)
        rows.append((known.name, known.group, known.product, children))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        print("  ".join((*cells, row[3])).rstrip())
    return 0
