"""Processing of many studies: rules, single studies, batches and the DICOM node."""
