"""``s3net compare``."""

import json

import numpy as np
import pytest
from command_line import s3net_here as s3net
from paths import SAMPLE_DATA

from S3NetSegmentLib.engine import Segment, Segmentation, Volume
from S3NetSegmentLib.engine.images.reading import read_image
from S3NetSegmentLib.engine.images.writing import write_image, write_segmentation

LABELS = SAMPLE_DATA / "mr_brain_tumour_labels.nii.gz"


def test_a_segmentation_agrees_with_itself_and_not_with_an_eroded_one(tmp_path):
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


def test_label_maps_take_their_names_from_a_file_and_the_answer_keeps_its_own(tmp_path):
    whole = read_image(LABELS)
    values = [int(v) for v in np.unique(whole.array) if v]
    (tmp_path / "names.csv").write_text("".join(f"{v},part {v}\n" for v in values))
    done = s3net("compare", LABELS, LABELS, "--labels", tmp_path / "names.csv", "--json")
    assert [s["name"] for s in json.loads(done.stdout)["segments"]] == [f"part {v}" for v in values], done.stderr
    segments = [Segment(f"Part {v}", (1, 0, 0), v) for v in values]
    write_segmentation(
        Segmentation([whole.array.astype(np.uint8)], segments, whole.ijk_to_ras), tmp_path / "a.seg.nrrd"
    )
    for pair in ((tmp_path / "a.seg.nrrd", LABELS), (LABELS, tmp_path / "a.seg.nrrd")):
        done = s3net("compare", *pair)
        assert all(f"Part {v} " in done.stdout for v in values) and "Segment 1" not in done.stdout
        assert "s3net: note: one side has no names of segments; they were paired by label value" in done.stderr
    named = s3net("compare", tmp_path / "a.seg.nrrd", LABELS, "--labels", tmp_path / "names.csv")
    assert named.returncode == 0 and "note" not in named.stderr  # now they share their names
    (tmp_path / "names.csv").write_text("1,a\n1,b\n")
    done = s3net("compare", LABELS, LABELS, "--labels", tmp_path / "names.csv")
    assert done.returncode == 2 and "line 2: label 1 is there twice" in done.stderr


def test_pictures_are_compared_in_pixels(tmp_path):
    mask = SAMPLE_DATA / "skin_lesion_1_mask.png"
    done = s3net("compare", mask, mask)
    pixels = int((read_image(mask).array > 0).sum())
    assert "found pixels" in done.stdout and f"{pixels:,}" in done.stdout and " ml" not in done.stdout
    assert "the distances are in pixels, not mm" in done.stderr
