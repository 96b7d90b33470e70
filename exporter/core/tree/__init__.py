"""Read the API's answer about a session: from bytes to a `Session`.

`decode` reads the JSON, `walk` flattens the tree, `stitch` completes a tree that the API cut off, and `rollup` tells
events apart and checks the stated sums. Nothing here sends a request or books money. Start with
`stitch.TreeReader.session`.
"""

from exporter.core.tree.stitch import Stitching, Subtree, SubtreeParts, TreeReader
from exporter.core.tree.walk import TreeLimits, identity

__all__ = ["Stitching", "Subtree", "SubtreeParts", "TreeLimits", "TreeReader", "identity"]
