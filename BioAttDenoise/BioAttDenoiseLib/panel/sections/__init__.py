"""The parts of the panel that are folded away, one file each."""
