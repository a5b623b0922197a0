"""Care of the data directory: verify, prune, doctor, a new profile. Imports the rooms of the data."""
