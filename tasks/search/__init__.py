"""Search: asks sources for hits, and keeps the frontier of every URL ever proposed.

May import `browser`, `raw`, `web` and what is below, but no stage.
"""
