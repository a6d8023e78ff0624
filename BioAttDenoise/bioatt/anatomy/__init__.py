"""Descriptor sets and what is measured by organ. NumPy only."""
