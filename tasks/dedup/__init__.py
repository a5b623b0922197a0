"""Dedup: exact and near copies, against everything ever kept. May import `raw` and what is below, but no stage."""
