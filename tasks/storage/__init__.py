"""Durable files, the state database, the run's lock. Imports contracts."""
