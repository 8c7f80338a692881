"""Layer 3: the steps of each command, files, databases, MLflow, and the command line."""
