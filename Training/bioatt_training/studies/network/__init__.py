"""What the shipped network does with priors, neighbours, doses and texture, on patients that were left out."""
