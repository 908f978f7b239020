"""Compatibility facts: tables (*.toml, each fact with its source) and the code that answers."""
