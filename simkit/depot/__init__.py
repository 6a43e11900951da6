"""The model of the remote page store: commits, pages, page index, fault points and latency."""
