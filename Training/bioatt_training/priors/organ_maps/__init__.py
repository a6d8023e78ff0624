"""Training, evaluation and export of the organ-map network."""
