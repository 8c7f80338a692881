"""A segment for every customer: from the whole log, or from the last state and the events since."""
