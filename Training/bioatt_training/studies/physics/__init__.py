"""Evaluation of a model with CT physics: detectability, hallucination, automated readings, patient sizes."""
