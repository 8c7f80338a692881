"""Floor 2: arithmetic in memory on profiles."""
