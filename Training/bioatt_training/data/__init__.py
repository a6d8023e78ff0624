"""Training data: finding scans and pairs in folders, checking them, splitting by patient, and the cache made of them."""
