"""Chromium: starts it, watches it, kills it. Imports web and what is below it."""
