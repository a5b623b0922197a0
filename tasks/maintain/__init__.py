"""Care of the data directory: verify, prune, doctor, a profile to begin with.

May import the rooms of the stages and what is below.
"""
