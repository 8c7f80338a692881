"""Floor 3: order of steps, files, databases, MLflow, the command line."""
