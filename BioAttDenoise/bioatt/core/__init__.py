"""Core of the engine: the HU volume, its noise and body mask, and metrics. Uses NumPy and SciPy only."""
