"""BiomedCLIP, the prior of the paper."""
