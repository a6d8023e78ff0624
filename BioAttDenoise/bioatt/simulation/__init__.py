"""Phantoms, projections and simulated scans. Needs the extra [simulation]."""
