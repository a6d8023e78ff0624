"""The engine's process and its jobs."""
