"""The table of hosts: when each may be asked again, and when its last batch ended. Politeness and frontier share it."""

COOLING_SECONDS = 90.0  # a host that wants a longer pause than this is left for another night

TABLE = """
CREATE TABLE IF NOT EXISTS hosts (
    host TEXT PRIMARY KEY,
    next_at REAL NOT NULL DEFAULT 0,        -- no request before
    visited_at REAL NOT NULL DEFAULT 0      -- when its last batch ended
);
CREATE INDEX IF NOT EXISTS hosts_by_visit ON hosts (visited_at, host);
"""
