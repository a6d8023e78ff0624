"""The engine process and its jobs."""
