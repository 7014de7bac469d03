"""Pictures from arrays."""

from __future__ import annotations

import base64

import numpy as np
import qt


def pixmap_of(picture: np.ndarray) -> qt.QPixmap:
    """``picture``, uint8 ``[H, W, 3]``, as Qt shows it."""
    height, width = picture.shape[:2]
    data = f"P6 {width} {height} 255\n".encode() + np.ascontiguousarray(picture).tobytes()
    pixmap = qt.QPixmap()
    # As base64: PythonQt hands bytes with zeros over in some of its conversions only.
    pixmap.loadFromData(qt.QByteArray.fromBase64(base64.b64encode(data)))
    return pixmap


def icon_of(picture: np.ndarray) -> qt.QIcon:
    """An icon that shows ``picture``, uint8 ``[H, W, 3]``, in all states of a button alike."""
    pixmap = pixmap_of(picture)
    icon = qt.QIcon()
    icon.addPixmap(pixmap, qt.QIcon.Normal)
    icon.addPixmap(pixmap, qt.QIcon.Disabled)
    return icon
