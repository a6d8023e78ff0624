"""Devices, memory and compute backends."""
