"""Tokenize: kept text -> ids in train.bin and val.bin, and the tokenizer.

Imports raw and what is below it, and model.
"""
