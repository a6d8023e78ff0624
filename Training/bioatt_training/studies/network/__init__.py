"""Examination of the shipped network on held-out patients: priors, neighbours, doses and texture."""
