"""The local web page of `kindred serve`: figures, audiences, one customer, and changes, read from the scores."""
