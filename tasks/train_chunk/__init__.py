"""Train-chunk: one bounded run of training in a child process.

May import `tokenize.token_files`, `raw` and what is below, and `model`; nothing else of a stage.
"""
