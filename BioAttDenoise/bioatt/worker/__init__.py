"""The engine as a child process of Slicer."""
