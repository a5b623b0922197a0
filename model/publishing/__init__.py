"""Evaluate, compare, publish, sample. May import `contracts`, `network` and `data`."""
