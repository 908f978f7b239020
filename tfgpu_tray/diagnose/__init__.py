"""From facts to causes: pure functions over a snapshot and the tables."""
