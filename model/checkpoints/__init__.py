"""Checkpoints: written whole, verified, resumed from. May import `publishing` and what is below."""
