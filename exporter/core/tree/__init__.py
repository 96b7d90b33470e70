"""From the API's bytes to a `Session`.

Owns what an answer means: its shape (decode), its nodes in a row (walk), which of them are the same event and whether
the stated sums hold (rollup), and how a tree that was cut is completed (stitch). Performs no requests and books no
money. Read `stitch.TreeReader.session` first.
"""

from exporter.core.tree.stitch import Stitching, Subtree, TreeReader
from exporter.core.tree.walk import TreeLimits, identity

__all__ = ["Stitching", "Subtree", "TreeLimits", "TreeReader", "identity"]
