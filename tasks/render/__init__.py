"""Render: turns a hit into a fetched page, by HTTP or Chromium, politely. Imports browser, web and what is below."""
