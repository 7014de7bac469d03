"""Small pictures and volumes, NRRD and MetaImage files with headers of the caller's choice, for the tests of formats."""

from __future__ import annotations

import numpy as np

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 255, (40, 50), dtype=np.uint8)
DEEP = RNG.integers(0, 65535, (40, 50), dtype=np.uint16)
RGB = RNG.integers(0, 255, (40, 50, 3), dtype=np.uint8)
VOXELS = RNG.integers(-1000, 3000, (4, 5, 6)).astype("<i2")
PLACE = np.array([[-1.0, 0, 0, -7], [0, -2, 0, -8], [0, 0, 3, 9], [0, 0, 0, 1]])
NRRD = (
    "type: short\ndimension: 3\nsizes: 6 5 4\nendian: little\nspace: left-posterior-superior\n"
    "space directions: (1,0,0) (0,2,0) (0,0,3)\nspace origin: (7,8,9)\n"
)
META = (
    "ObjectType = Image\nNDims = 3\nDimSize = 6 5 4\nElementSpacing = 1 2 3\nOffset = 7 8 9\n"
    "TransformMatrix = 1 0 0 0 1 0 0 0 1\nElementType = MET_SHORT\n"
)


def nrrd_file(path, fields=NRRD, data=None, encoding="raw"):
    path.write_bytes(
        f"NRRD0004\n{fields}encoding: {encoding}\n\n".encode() + (VOXELS.tobytes() if data is None else data)
    )
    return path


def meta_file(path, more="", data=None, fields=META):
    path.write_bytes(f"{fields}{more}ElementDataFile = LOCAL\n".encode() + (VOXELS.tobytes() if data is None else data))
    return path
