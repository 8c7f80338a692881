"""Reads files as raw tables of texts, or of Parquet types."""
