"""Storage: the database, result files, and MLflow."""
