"""What a denoising costs on this machine, by part and by way to compute it, beside other filters: `bioatt bench`."""
