"""The report: results -> plain dict -> one HTML file; and the figures of a run."""
