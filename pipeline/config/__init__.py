"""params.yaml as checked objects, and errors that name what to fix in it."""
