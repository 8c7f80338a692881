"""The report: results -> plain dict -> one HTML file; and the workbook, the terminal tables and the plots of a run."""
