"""Where nights are started from: profiles, the worker, the notebook's functions, systemd units.

May import `flows` and what is below. Import nothing here: the notebook runs before anything is installed.
"""
