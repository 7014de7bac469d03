"""The methods, one module each: ``segment`` (S3-Net regions and objects from points)."""
