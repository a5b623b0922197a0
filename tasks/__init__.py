"""The stages of the night, one file each, named as the data flows: plain functions, no Prefect.

search -> render -> extract -> clean -> dedup -> tokenize -> train_chunk
"""
