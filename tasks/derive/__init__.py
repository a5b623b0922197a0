"""Runs clean, dedup and tokenize in ledger order, for a night and for a rebuild.

Imports these three, raw and what is below.
"""
