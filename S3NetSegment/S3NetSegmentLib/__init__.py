"""S3NetSegment: segmentation of medical images without, or with few, drawings.

Rooms (imports go only downwards): ``panel`` (Qt) -> ``scene`` (MRML) -> ``engine`` (numpy, scipy, SimpleITK, torch);
``cli`` -> ``engine``. The engine knows nothing of Slicer and can be used alone.
"""

__version__ = "0.1.0"
