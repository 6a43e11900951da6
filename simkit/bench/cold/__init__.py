"""The cold-read benchmark: what a database costs that is woken with nothing cached.

`sizes`, `schema`, `seeds` and `workloads` say what is run, as data and plain functions; they know neither the VFS
nor the depot.
"""
