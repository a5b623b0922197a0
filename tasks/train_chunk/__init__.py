"""Train-chunk: one bounded run of training in a child process.

Imports tokenize.token_files, storage, contracts and model.
"""
