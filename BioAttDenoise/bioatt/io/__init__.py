"""Files in and out: integrity, images, DICOM, atomic writing."""
