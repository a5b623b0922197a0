"""Forget: removes a page, a domain or a document from everything. May import `run_context` and all rooms below it."""
