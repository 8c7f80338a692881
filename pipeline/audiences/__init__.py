"""Audiences: from scores to lists of customers that people act on."""
