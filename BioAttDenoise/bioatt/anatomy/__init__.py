"""Descriptor sets and measurements by organ. NumPy only."""
