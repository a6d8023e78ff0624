"""Comparison of training methods: the same network, data and steps, evaluated on held-out patients."""
