"""Checkpoints: written whole, verified, resumed from. Imports publishing and what is below it."""
