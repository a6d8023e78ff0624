"""Training of the networks that tell the anatomy: the embedded prior and the organ maps."""
