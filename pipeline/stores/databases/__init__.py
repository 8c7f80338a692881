"""Databases as sources of rows, and as targets of tables."""
