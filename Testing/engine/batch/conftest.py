"""A case of a batch that takes a moment."""

import pytest
from batch_cases import write_disk, write_manifest

from S3NetSegmentLib.engine.batch.manifest import read_manifest


@pytest.fixture
def disk(tmp_path):
    """The case of a picture with a disk; its results go to tmp_path/out."""
    mask = write_disk(tmp_path / "in" / "a.png")
    (case,) = read_manifest(write_manifest(tmp_path / "m.csv", ["in/a.png"]), tmp_path / "out")
    return case, mask
