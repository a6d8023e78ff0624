"""Noise power spectra, task transfer functions and other image-quality measures. NumPy and SciPy only."""
