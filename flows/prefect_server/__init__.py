"""Prefect's own server: find the configured one, start one for a night, keep it tidy, erase from it.

May import `tasks`.
"""
