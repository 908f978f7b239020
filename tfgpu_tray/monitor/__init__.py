"""When to look; keeps the conditions and speaks in events."""
