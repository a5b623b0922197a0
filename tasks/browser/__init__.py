"""Chromium: started, watched, ended. Imports web and what is below it."""
