"""The workbook of a run: its tables, and the file."""
