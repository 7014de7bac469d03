"""The engine: images in, segmentations out. Knows nothing of Slicer, Qt or MRML.

Importing it imports nothing else; what is named here is loaded when it is first used, so that the command line can read its
arguments (``engine.tasks``) on a machine that has only Python. No torch before a method needs it.
"""

import importlib

_PLACES = {
    "InputError": "common.errors", "ResourceError": "common.errors", "Extent": "images", "Segment": "images", "Segmentation": "images",
    "Volume": "images", "Step": "common.progress", "Steps": "common.progress", "run_to_end": "common.progress", "SegmentSettings": "segment.settings",
    "preset": "segment.settings",
}  # fmt: skip
__all__ = list(_PLACES)


def __getattr__(name: str):
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_PLACES[name]}", __name__), name)
