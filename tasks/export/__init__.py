"""Export: copies for other tools, as GGUF and Parquet, and snapshots in a slow folder.

May import `raw` and what is below, and `model`.
"""
