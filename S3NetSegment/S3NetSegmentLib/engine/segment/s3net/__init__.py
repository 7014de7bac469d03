"""S3-Net fitted to one image: its input, the fit, and the regions that come of it."""
