"""What goes wrong between instances and depot."""

from __future__ import annotations


class Network:
    """The network of one run."""
