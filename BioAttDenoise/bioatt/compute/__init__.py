"""Devices, memory and the libraries to compute with."""
