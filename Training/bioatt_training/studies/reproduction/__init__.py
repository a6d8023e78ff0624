"""Reproduction of the paper's experiments: every arm of Table 1, several seeds, and a report on the agreement."""
