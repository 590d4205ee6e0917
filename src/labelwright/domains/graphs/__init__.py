"""Graphs: readers of Planetoid files, adjacency text, edge lists, NPZ archives and PyTorch Geometric objects.

``labelwright.data.load`` finds the file readers by what a path holds; :func:`from_pyg` takes objects in Python.
"""

from __future__ import annotations

from labelwright.data.graphs import Graph, GraphNodes, node_dataset
from labelwright.domains.graphs.pyg import from_pyg

__all__ = ["Graph", "GraphNodes", "from_pyg", "node_dataset"]
