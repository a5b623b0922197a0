"""Going out to the web: every connection, its address checks, politeness, rights, blocklists.

Imports contracts, storage.
"""
