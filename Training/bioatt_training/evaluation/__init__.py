"""Evaluation on held-out patients: the paper's protocol, HU windows, bias, noise, and tests between models."""
