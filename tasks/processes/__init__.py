"""Child processes: a pool that runs our functions and kills what hangs, and the trees of processes that others start.

May import `contracts`.
"""
