"""Features as Ibis expressions: tables in, tables out."""
