"""Training on a lent GPU without network: data in one file, batches drawn on the card, outputs taken up on a CPU."""
