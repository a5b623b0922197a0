"""Durable files, the state database, the run's lock. May import `processes` and `contracts`."""
