"""Extract: page -> main text, metadata, links, in killable child processes. Imports web and what is below it."""
