"""Render: hit -> fetched page, by HTTP or Chromium, politely. Imports browser, web and what is below them."""
