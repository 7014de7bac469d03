"""``s3net segment`` with a box or a stroke: the same object as in a script, with pictures, provenance and notes."""

import json

import numpy as np
import pytest
from paths import SAMPLE_DATA
from PIL import Image

from S3NetSegmentLib.cli import main
from S3NetSegmentLib.engine.common.errors import InputError
from S3NetSegmentLib.engine.images import Volume
from S3NetSegmentLib.engine.images.reading import read_image
from S3NetSegmentLib.engine.images.writing import write_image
from S3NetSegmentLib.engine.segment.prompts import Box
from S3NetSegmentLib.engine.segment.run import asked_notes
from S3NetSegmentLib.engine.tasks.fields import columns_of, from_script
from S3NetSegmentLib.engine.tasks.segment import SegmentTask

j, i = np.mgrid[:72, :80]
DISK = np.hypot(j - 34, i - 40) < 15


@pytest.fixture
def disk(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    picture = 60.0 + 80 * DISK + np.random.default_rng(0).normal(0, 4, DISK.shape)
    write_image(
        Volume(np.repeat(picture[None], 3, 0).astype(np.float32), np.diag((-2.0, -2.0, 3.0, 1.0)), "disk"),
        "disk.nii.gz",
    )
    return tmp_path


def run(text, capsys):
    parts = ["segment", "disk.nii.gz", "-o", "out.nrrd", "--slice", "1", *text.split(), "--json"]
    arguments = main.build_parser().parse_args([*parts, "--set", "sources=classical"])
    arguments.check(arguments)
    assert main.run(arguments) == 0
    return capsys.readouterr()


@pytest.mark.parametrize(
    "text",
    ["--box 24,18,1,56,50,1", "--box 24,18,56,50", "--box=56,50,1,24,18,1", "--box-mm -48,-36,3,-112,-100,3",
     "--stroke 30,34,1;50,34,1", "--box 24,18,0,56,50,2"],
)  # fmt: skip
def test_a_box_or_a_stroke_gives_the_object(disk, capsys, text):
    run(text, capsys)

    found = read_image("out.nrrd").array
    assert 2 * (found[1] * DISK > 0).sum() / ((found[1] > 0).sum() + DISK.sum()) > 0.95
    assert not found[[0, 2]].any()


def test_the_box_is_drawn_on_the_picture_and_explained(disk, capsys):
    out = run("--box 24,18,1,56,50,1 --overlay over.png --explain why.png", capsys)
    assert json.loads(out.out)["object"]["steps"] > 1
    picture = np.asarray(Image.open("over.png").convert("RGB")).astype(int)
    white = (picture == 255).all(2)
    assert white.sum(1).max() > 0.35 * picture.shape[1] and white.sum(0).max() > 0.35 * picture.shape[0]


def test_a_box_that_covers_everything_is_answered_with_a_note(disk, capsys):
    out = run("--box 0,0,1,79,71,1", capsys)
    assert "covers all of the searched part" in out.err


def test_a_box_that_covers_all_of_its_slice_of_a_volume_is_answered_with_a_note():
    volume, task = read_image(SAMPLE_DATA / "mr_spinal_cord.nii.gz"), SegmentTask()
    for corners, noted in (((0, 0, 4, 59, 54, 4), True), ((0, 0, 4, 59, 53, 4), False), ((0, 3, 0, 59, 3, 51), True)):
        notes = asked_notes(task, volume, volume.extent, [Box.between(corners[:3], corners[3:])], None)
        assert any("covers all" in note for note in notes) == noted


def test_cells_json_and_scripts_write_boxes_and_strokes_alike():
    columns = columns_of(SegmentTask)
    boxes = ((1, 2, 3, 4, 5, 3), (6, 7, 8, 9))
    assert columns["boxes"].form.read("1,2,3,4,5,3; 6,7,8,9") == boxes
    assert columns["boxes"].form.read([[1, 2, 3, 4, 5, 3], [6, 7, 8, 9]]) == boxes
    strokes = (((1, 2, 3), (4, 5, 3)), ((6, 7, 8), (9, 9, 8)))
    assert columns["strokes"].form.read("1,2,3;4,5,3 | 6,7,8;9,9,8") == strokes
    assert from_script(SegmentTask, {"strokes": strokes}).strokes == strokes
    assert from_script(SegmentTask, {"strokes": strokes[0]}).strokes == strokes[:1]
    assert from_script(SegmentTask, {"boxes": boxes[0], "boxesMm": [1, 2, 3, 4, 5, 6.5]}).boxes_mm == (
        (1, 2, 3, 4, 5, 6.5),
    )
    with pytest.raises(ValueError, match=r"mixes i,j and i,j,k"):
        columns["strokes"].form.read("1,2;3,4,5")


def test_a_box_beyond_the_image_is_noted_and_one_outside_is_refused_with_what_it_may_be(disk, capsys):
    assert "reaches beyond the image, which has 80 x 72 x 3 voxels" in run("--box 24,18,156,50", capsys).err
    assert "reaches beyond" not in run("--box 24,18,1,56,50,1", capsys).err
    assert "-48,-36,3,-512,-100,3 (R,A,S,R,A,S, mm) reaches beyond" in run("--box-mm -48,-36,3,-512,-100,3", capsys).err
    with pytest.raises(InputError, match=r"R,A,S,R,A,S, mm.* if it was given as LPS, write -48,-36,3,-112,-100,3"):
        run("--box-mm 48,36,3,112,100,3", capsys)
    with pytest.raises(InputError, match="is outside image") as told:
        run("--box-mm 948,36,3,1112,100,3", capsys)
    assert "LPS" not in str(told.value)
