"""Whose events count: forgotten customers, and the contacts of the others."""
