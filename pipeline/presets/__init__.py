"""Exports of known shops and analytics tools, and how their files are described in a params file."""
