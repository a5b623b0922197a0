"""Extract: page -> main text, metadata, links, in child processes that can be killed.

May import `web` and what is below, but no stage.
"""
