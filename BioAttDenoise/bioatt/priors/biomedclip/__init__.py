"""BiomedCLIP, the paper's prior."""
