"""The training loop's parts: numerics, optimizer, averages, spikes. May import all other rooms of `model`."""
