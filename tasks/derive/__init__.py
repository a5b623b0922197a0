"""Derive: runs clean, dedup and tokenize in ledger order, for a night and for a rebuild.

May import these three, `raw` and what is below.
"""
