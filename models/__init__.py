"""Layer 2: in-memory computation on profiles (NumPy and pandas, no database)."""
