"""`kindred drift`: whether the model still fits the customers of today."""
