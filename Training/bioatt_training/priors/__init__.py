"""Training of the network that tells the anatomy."""
