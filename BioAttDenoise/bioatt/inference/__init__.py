"""Denoising of volumes: models, tiles, attention, report."""
