"""The DICOM node: receives studies, denoises them by rules and forwards the derived series. Extra [node]."""
