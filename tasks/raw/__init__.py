"""The truth: raw files, their ledger, and the catalog (index) over both. Imports web and what is below it."""
