"""The truth: raw files, their ledger, and the catalog (index) over both. May import `web` and what is below."""
