"""Search: asks sources for hits, and keeps the frontier of every URL ever proposed.

Imports browser, raw, web and what is below them.
"""
