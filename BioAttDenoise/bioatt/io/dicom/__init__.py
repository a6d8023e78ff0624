"""DICOM CT in and out: headers, groups and phases, pixels, derived series."""
