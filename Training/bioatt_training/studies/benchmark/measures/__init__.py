"""Measurements of denoised slices: image quality, safety at full dose, noise texture."""
