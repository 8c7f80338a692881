"""Commands that act on scores: lists, changes, effects, and a page."""
