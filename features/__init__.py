"""Floor 1: tables in, tables out. Ibis expressions only."""
