"""Render: turns a hit into a fetched page, by HTTP or Chromium, politely.

May import `browser`, `web` and what is below, but no stage.
"""
