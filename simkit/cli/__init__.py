"""The `simkit` command: thin commands over the other packages."""
