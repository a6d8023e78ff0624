"""A model by the tools of CT physics: detectability, hallucination, tasks of machines, sizes of patients."""
