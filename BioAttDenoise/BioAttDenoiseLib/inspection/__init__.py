"""Comparing, overlaying, measuring and checking what denoising did."""
