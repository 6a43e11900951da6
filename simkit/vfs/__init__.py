"""The SQLite file layer that reads and commits pages in the depot."""
