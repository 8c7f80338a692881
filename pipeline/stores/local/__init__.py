"""What is on this machine: locks, folders that are deleted at the end, names of files, a local MLflow store."""
