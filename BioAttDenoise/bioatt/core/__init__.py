"""What the engine is about: a volume of HU, its noise, body and metrics. NumPy and SciPy only."""
