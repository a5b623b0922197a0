"""One page each, verbs in order. Import nothing heavy here."""
