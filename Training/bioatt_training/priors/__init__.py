"""Training of the network that provides the anatomical prior."""
