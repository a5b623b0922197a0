"""Dedup: exact and near copies against everything ever kept. Imports raw and what is below it."""
