"""Engines: what runs the expressions of `features` and keeps the tables between two steps."""
