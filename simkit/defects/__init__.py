"""Deliberate, named breakages that the checks must catch: the registry, and how soon each is caught."""
