"""Content: which of a page's blocks are its text, of what kind the page is, and how sure that is.

Reads a parsed page and trafilatura's text of it; opens nothing. May import `contracts`.
"""
