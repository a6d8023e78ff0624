"""The module's panel; its sections are in `sections`."""
