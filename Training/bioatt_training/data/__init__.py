"""Training data: scans and pairs found in folders, checked, split by patient, and the bank made of them."""
