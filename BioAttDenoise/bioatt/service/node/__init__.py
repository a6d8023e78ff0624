"""The DICOM node: receives studies, denoises them by rules, sends the derived series on. Extra [node]."""
