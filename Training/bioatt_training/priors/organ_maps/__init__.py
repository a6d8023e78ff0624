"""Training, judging and export of the organ-map network."""
