"""Training: configuration, patches, losses, runs and their checkpoints."""
