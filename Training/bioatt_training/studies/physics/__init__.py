"""Evaluation of a model with CT physics: detectability, hallucination, automated measurements, patient sizes."""
