"""``s3net compare`` as a process."""

import json

import pytest
from command_line import s3net
from paths import SAMPLE_DATA

LABELS = SAMPLE_DATA / "mr_brain_tumour_labels.nii.gz"


def test_a_segmentation_agrees_with_itself_and_not_with_an_eroded_one(tmp_path):
    import numpy as np

    from S3NetSegmentLib.engine import Volume
    from S3NetSegmentLib.engine.images.reading import read_image
    from S3NetSegmentLib.engine.images.writing import write_image

    whole = read_image(LABELS)
    part = np.where(np.arange(whole.array.shape[0])[:, None, None] % 2, whole.array, 0)
    write_image(Volume(part, whole.ijk_to_ras), tmp_path / "part.nii.gz")
    same = s3net("compare", LABELS, LABELS, "--json")
    assert same.returncode == 0, same.stderr
    assert [s["dice"] for s in json.loads(same.stdout)["segments"]] == [1.0] * len(np.unique(whole.array)[1:])
    other = json.loads(s3net("compare", tmp_path / "part.nii.gz", LABELS, "--json").stdout)["segments"]
    for segment in other:
        value = int(segment["name"].split()[-1])
        a, b = part == value, whole.array == value
        assert segment["dice"] == pytest.approx(2 * (a & b).sum() / (a.sum() + b.sum()))
    text = s3net("compare", tmp_path / "part.nii.gz", LABELS)
    assert text.returncode == 0 and "HD95 mm" in text.stdout and other[0]["name"] in text.stdout


def test_bad_files_and_other_grids_are_refused_in_one_line(tmp_path):
    (tmp_path / "broken.seg.nrrd").write_bytes(b"NRRD0004\nnonsense")
    for arguments in (
        [LABELS, tmp_path / "nothing.nii.gz"], [tmp_path / "broken.seg.nrrd", LABELS],
        [LABELS, SAMPLE_DATA / "mr_spinal_cord_labels.nii.gz"],
    ):  # fmt: skip
        done = s3net("compare", *arguments)
        assert done.returncode == 2 and done.stderr.startswith("s3net: error:") and done.stderr.count("\n") == 1
