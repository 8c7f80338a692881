"""The commands of `kindred`, one module each."""
