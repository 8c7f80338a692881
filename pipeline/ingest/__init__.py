"""Reads the user's files into checked events, products and customers, and counts the rows it rejects."""
