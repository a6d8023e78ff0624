"""Judging models on patients they never saw: the paper's protocol, HU windows, bias, noise, tests between models."""
