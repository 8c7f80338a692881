"""Where things are kept: the database, files of results, and MLflow."""
