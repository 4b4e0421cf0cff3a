"""The systems, one folder each, and how they are found by name."""
