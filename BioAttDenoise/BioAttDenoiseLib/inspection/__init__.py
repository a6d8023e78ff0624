"""Compare, overlay, measure and check denoising results."""
