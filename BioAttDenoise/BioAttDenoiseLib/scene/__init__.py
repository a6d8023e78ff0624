"""Volumes, regions, slice views and layouts of the MRML scene."""
