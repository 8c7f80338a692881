"""Parts of the summary of a training."""
