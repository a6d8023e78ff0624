"""From a volume to its denoised version: models, tiles, attention, report."""
