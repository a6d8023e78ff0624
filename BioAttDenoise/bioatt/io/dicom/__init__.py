"""Reading and writing DICOM CT: headers, groups and phases, pixels, derived series."""
