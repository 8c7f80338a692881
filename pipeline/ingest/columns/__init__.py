"""Which columns are ours, and how their values are read."""
