"""From the API's bytes to a `Session`.

Owns what an answer means: its shape (decode), its nodes in a row (walk), which of them are the same event and whether
the stated sums hold (rollup), and how a tree that was cut is completed (stitch). Performs no requests and books no
money. Read `stitch.Reader.session` first.
"""

from exporter.core.tree.stitch import Reader, Stitching, Subtree
from exporter.core.tree.walk import Limits, identity

__all__ = ["Limits", "Reader", "Stitching", "Subtree", "identity"]
