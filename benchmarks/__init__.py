"""Each benchmark is a script; its results are committed in `results/`."""
