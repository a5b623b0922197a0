"""Going out to the web: every connection, its address checks, politeness, usage rights, blocklists; reading what comes.

May import `storage`, `processes` and `contracts`.
"""
