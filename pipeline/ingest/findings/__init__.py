"""What was found while reading: counts, rejected rows, warnings."""
