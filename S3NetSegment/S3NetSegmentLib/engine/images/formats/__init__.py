"""File formats other than DICOM, each read by what its own header says."""
