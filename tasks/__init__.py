"""The night's work, a room for each stage, in the order of the data; below them the rooms that several stages use.

search -> render -> extract -> raw -> clean -> dedup -> tokenize -> train_chunk. `stages.py` names the seven stages.
May import `model`, and nothing above. Within, imports go down only, and stages do not import each other: the floors are
in pyproject.toml, the rest in tests/unit/test_architecture.py.
"""
