"""What all rooms share: records, outcomes, errors, settings, profiles, providers, paths, URLs, the run's record.

May import no other room.
"""
