"""A folder with an image and a drawing."""

from __future__ import annotations

import pytest
from few_shot_command_line import DRAWN, IMAGE, SEGMENTS, TRUTH, only

from S3NetSegmentLib.engine import Segmentation
from S3NetSegmentLib.engine.images.writing import write_image, write_segmentation


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with the image and the drawing on two slices, as .seg.nrrd; the working directory."""
    write_image(IMAGE, tmp_path / "ct.nii.gz")
    write_segmentation(Segmentation([only(TRUTH, DRAWN)], SEGMENTS, IMAGE.ijk_to_ras), tmp_path / "drawn.seg.nrrd")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("S3NET_WEIGHTS", str(tmp_path / "weights"))  # not those of whoever runs the tests
    return tmp_path
