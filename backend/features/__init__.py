"""Use cases and their HTTP, one folder each."""
