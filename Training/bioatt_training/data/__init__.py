"""Training data: find scans and pairs in folders, check them, split them by patient, and write a bank."""
