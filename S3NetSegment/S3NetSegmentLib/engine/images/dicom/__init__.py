"""DICOM: series in, whatever the scanner or the archive made of them, and segmentations (SEG) in and out."""
