"""``s3net series`` lists what is in a folder, ``--series`` chooses, and ``-o NAME.dcm`` writes a DICOM SEG."""

import json

import numpy as np
import pytest
from command_line import s3net_here
from image_files import write_dicom_series

from S3NetSegmentLib.engine import Segment, Segmentation
from S3NetSegmentLib.engine.images.dicom.seg_writing import write_dicom_seg
from S3NetSegmentLib.engine.images.reading import read_image

POINT = ("--pixel", "16,15,2", "--set", "work_size=64", "--device", "cpu")


@pytest.fixture
def study(tmp_path):
    """Two series of a bright cylinder in folders of their own; the second one is dark there."""
    _, j, i = np.mgrid[:4, :30, :32]
    inside = (j - 15) ** 2 + (i - 16) ** 2 < 60
    noise = np.random.default_rng(3).normal(0, 8, inside.shape)
    for number, text, value in ((2, "T1 ax", 300), (11, "T2 ax", 20)):
        array = (np.where(inside, value, 100) + noise).astype(np.int16)
        write_dicom_series(
            tmp_path / "study" / f"S{number}", array, np.diag([-1.0, -1.0, 3.0, 1.0]), uid=f"1.2.3.{number}",
            description=text, extra={"0020|0011": str(number)},
        )  # fmt: skip
    return tmp_path / "study"


def test_the_series_of_a_disc_are_listed(study):
    table = s3net_here("series", study)
    assert table.returncode == 0
    assert [line.split()[:4] for line in table.stdout.splitlines()[1:]] == [
        ["2", "T1", "ax", "MR"],
        ["11", "T2", "ax", "MR"],
    ]
    facts = json.loads(s3net_here("series", study, "--json").stdout)
    first = facts["series"][0]
    assert (first["number"], first["uid"], first["slices"], first["size"]) == (2, "1.2.3.2", 4, [32, 30])


def test_a_folder_without_series_ends_with_code_2(tmp_path):
    answer = s3net_here("series", tmp_path)
    assert answer.returncode == 2 and "holds no DICOM images" in answer.stderr


def test_a_series_must_be_chosen_and_is_then_segmented(study, tmp_path):
    out = tmp_path / "out.seg.nrrd"
    refused = s3net_here("segment", study, *POINT, "-o", out)
    assert refused.returncode == 2 and "--series" in refused.stderr and not out.exists()
    done = s3net_here("segment", study, *POINT, "-o", out, "--series", 11, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["segments"][0]["voxels"] == pytest.approx(4 * np.pi * 60, rel=0.15)


def test_a_dicom_seg_refers_to_the_chosen_series(study, tmp_path):
    highdicom = pytest.importorskip("highdicom", reason="highdicom is not installed (pip install highdicom)")
    done = s3net_here("segment", study, *POINT, "-o", tmp_path / "out.dcm", "--series", "T1 ax", "-q")
    assert done.returncode == 0, done.stderr
    back = highdicom.seg.segread(tmp_path / "out.dcm")
    assert {uid.rpartition(".")[0] for _, _, uid in back.get_source_image_uids()} == {"1.2.3.2"}
    assert back.get_segment_description(1).segment_label == "Object"
    assert back.SeriesNumber == 1002 and back.SeriesDescription == "Segmentation of T1 ax"
    picture = s3net_here("segment", tmp_path / "out.dcm", "-o", tmp_path / "again.dcm")
    assert picture.returncode == 2 and "segmentation (SEG)" in picture.stderr


def test_a_drawing_as_dicom_seg_becomes_the_segments_as_dicom_seg(tmp_path):
    pytest.importorskip("highdicom", reason="highdicom is not installed (pip install highdicom)")
    k, j, i = np.mgrid[:9, :32, :32]
    ball = ((k - 4) * 3) ** 2 + (j - 16) ** 2 + (i - 15) ** 2 < 11**2
    array = (np.where(ball, 300, 100) + np.random.default_rng(0).normal(0, 15, ball.shape)).astype(np.int16)
    write_dicom_series(tmp_path / "s", array, np.diag([-1.0, -1.0, 3.0, 1.0]), extra={"0020|0052": "1.2.9"})
    volume = read_image(tmp_path / "s")
    for name, drawn in (("drawn", (2, 4, 6)), ("whole", range(9))):
        labels = (ball & np.isin(k, drawn)).astype(np.uint8)
        segmentation = Segmentation([labels], [Segment("Ball", (1, 0, 0), 1)], volume.ijk_to_ras)
        write_dicom_seg(segmentation, tmp_path / "s", tmp_path / f"{name}.dcm")
    done = s3net_here(
        "few-shot",
        tmp_path / "s",
        "--support",
        tmp_path / "drawn.dcm",
        "-o",
        tmp_path / "out.dcm",
        "--encoder",
        "default",
        "-q",
    )
    assert done.returncode == 0, done.stderr
    scores = json.loads(s3net_here("compare", tmp_path / "out.dcm", tmp_path / "whole.dcm", "--json").stdout)
    assert scores["segments"][0]["name"] == "Ball" and scores["segments"][0]["dice"] > 0.95
