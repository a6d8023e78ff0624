"""Adversarial training, training with pretrained features, and training without pairs of low and full dose."""
