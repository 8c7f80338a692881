"""Sections of params.yaml: types and bounds, a module each."""
