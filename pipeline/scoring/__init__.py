"""Assigns every customer to a segment, from the whole log or from the saved state and the events since."""
