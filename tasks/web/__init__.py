"""Going out to the web: every connection, its address checks, politeness, usage rights, blocklists.

May import `storage`, `processes` and `contracts`.
"""
