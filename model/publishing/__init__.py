"""Evaluate, compare, publish, sample. Imports contracts, network and data."""
