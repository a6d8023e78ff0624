"""Training of the embedded prior: labelled slices, augmentation, fit, leave-patients-out judgement, model card."""
