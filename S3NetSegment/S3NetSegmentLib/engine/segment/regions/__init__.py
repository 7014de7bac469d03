"""Label maps of an image without any label: k-means clustering, graph regions and S3-Net, each over several scales."""

from .maps import slice_maps, working_shape

__all__ = ["slice_maps", "working_shape"]
