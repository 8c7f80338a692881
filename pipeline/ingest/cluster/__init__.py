"""Reads the log on Spark: each file in a task of its own, by the same reader and checks as on one machine."""
