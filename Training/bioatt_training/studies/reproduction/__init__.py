"""The paper's experiments again: every arm of Table 1, several seeds, and a report of what agrees."""
