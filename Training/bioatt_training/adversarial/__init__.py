"""Training against discriminators, with pretrained features, and without pairs of low and full dose."""
