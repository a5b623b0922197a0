"""The training loop's parts: numerics, optimizer, averages, spikes. Imports all other rooms of model."""
