"""Reading and writing files: integrity, images, DICOM, atomic writing."""
