"""The module panel and its sections."""
