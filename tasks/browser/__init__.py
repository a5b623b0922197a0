"""Chromium: starts it, watches it, ends it. May import `web` and what is below."""
