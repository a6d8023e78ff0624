"""The module's panel; its sections are in a folder of their own."""
