"""Timing of denoising on this machine by part, backend and precision, compared with other filters: `bioatt bench`."""
