"""Studies of trained models: benchmark and reproduction."""
