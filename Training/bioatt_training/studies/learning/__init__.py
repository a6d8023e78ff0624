"""Ways to learn, compared: the same network, data and steps, judged on left-out patients."""
