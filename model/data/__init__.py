"""Tokenizer, token files, and which tokens a step reads. May import no other room; torch in batches.py alone."""
