"""params.yaml as checked objects, and the errors that name what to mend in it."""
