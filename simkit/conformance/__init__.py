"""Test scripts of others, run over the VFS: files of sqllogictest, and SQLite's own Tcl scripts."""
