"""Tokenizer, token files, and which tokens a step reads. Imports no other room; torch in batches.py alone."""
