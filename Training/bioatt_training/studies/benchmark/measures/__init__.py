"""What the benchmark measures of a denoised slice: image quality, safety at full dose, noise texture."""
