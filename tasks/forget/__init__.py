"""Forget: remove a page, a domain or a document from everything. Imports all rooms of the data."""
