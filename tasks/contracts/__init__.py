"""What crosses every wall: records, outcomes, errors, settings, paths, URLs, the run's record.

Imports no other room.
"""
