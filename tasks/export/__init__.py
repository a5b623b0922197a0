"""Copies for other tools: GGUF, Parquet, snapshots in a slow folder. Imports raw, storage, contracts and model."""
