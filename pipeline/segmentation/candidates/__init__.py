"""Candidates for the settings of a facet: what is tried, and how each does on a sample."""
