"""Tokenize: kept text -> ids in train.bin and val.bin, and the tokenizer.

May import `raw` and what is below, and `model`; no stage.
"""
