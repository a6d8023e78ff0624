"""Training of the shipped network on slices with their neighbours."""
