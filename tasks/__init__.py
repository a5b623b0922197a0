"""The night's work, a room for each stage, in the order of the data; below them the rooms that several stages use.

search -> render -> extract -> raw -> clean -> dedup -> tokenize -> train_chunk. `stages.py` names the seven stages.
"""
