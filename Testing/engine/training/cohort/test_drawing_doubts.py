"""Drawings that a training takes for what they are not: of single slices, of the background, of another kind; what is said of them."""

import numpy as np
import pytest
from cohort_files import phantom, write_cohort

from S3NetSegmentLib.engine import InputError, Volume, run_to_end
from S3NetSegmentLib.engine.images.writing import write_image
from S3NetSegmentLib.engine.training.cohort.drawing_doubts import sparse_slices
from S3NetSegmentLib.engine.training.cohort.folder import read_cohort
from S3NetSegmentLib.engine.training.configuration import finetuning_configuration
from S3NetSegmentLib.engine.training.finetune import finetune
from S3NetSegmentLib.engine.training.slices.bank import build_bank
from S3NetSegmentLib.engine.training.slices.layout import SliceLayout
from S3NetSegmentLib.engine.training.trainer.run_folder import RunFolder

LAYOUT = SliceLayout("axial", 1.0, 48)


def notes_of(folder, number, change, what="labels"):
    """What is said of a cohort of four whose case ``number`` has changed labels or another image."""
    write_cohort(folder, 4, label=".nii.gz")
    volume, labels = phantom(number)
    write_image(Volume(change(labels), volume.ijk_to_ras), folder / what / f"case{number:02d}.nii.gz")
    cohort = run_to_end(read_cohort(folder))
    return run_to_end(build_bank(cohort.cases, cohort.classes, LAYOUT)).notes


def only(labels, *slices):
    kept = np.zeros_like(labels)
    kept[list(slices)] = labels[list(slices)]
    return kept


def test_nothing_is_said_of_whole_drawings(tmp_path):
    assert notes_of(tmp_path, 1, lambda labels: labels) == []


@pytest.mark.parametrize("slices, said", [((2,), "2 along z"), ((1, 4), "1, 4 along z")])
def test_a_case_that_is_drawn_on_single_slices_is_told(tmp_path, slices, said):
    (note,) = notes_of(tmp_path, 1, lambda labels: only(labels, *slices))
    assert note.startswith(f"1 of 4 labelled cases are drawn on single slices alone (case01: {said})")


def test_small_things_on_single_slices_are_no_sparse_drawing():
    labels = np.zeros((20, 40, 40), np.uint8)
    labels[4, 10:12, 10:12] = labels[9, 20:22, 20:22] = 1
    assert sparse_slices(labels, (1, 1, 3)) is None
    labels[4, 5:30, 5:30] = labels[9, 5:30, 5:30] = 1
    assert sparse_slices(labels, (1, 1, 3)) == ("z", [4, 9])
    assert sparse_slices(labels.transpose(1, 0, 2), (1, 3, 1)) == ("y", [4, 9])
    labels[5] = labels[4]
    assert sparse_slices(labels, (1, 1, 3)) is None and sparse_slices(labels[:1] * 0 + 1, (1, 1, 3)) is None


def test_the_background_drawn_in_place_of_the_object_is_told(tmp_path):
    (note, *_) = notes_of(tmp_path / "a", 1, lambda labels: np.where(labels, 0, 1).astype(np.uint8))
    assert note.startswith("'Segment 1' covers most of the image, and ") and "in 1 cases (case01)" in note
    (note, *_) = notes_of(tmp_path / "b", 1, np.ones_like)
    assert note.startswith("'Segment 1' covers all of the image in 1 cases (case01): is the background drawn there?")


def test_a_label_map_among_the_images_is_told(tmp_path):
    notes = notes_of(tmp_path, 2, lambda labels: labels, "images")
    assert any(note.startswith("case02.nii.gz: it holds a few values only, as label maps do") for note in notes)


def test_labels_that_hold_nothing_are_refused_as_such(tmp_path):
    write_cohort(tmp_path, 2, label=".nii.gz")
    for file in (tmp_path / "labels").iterdir():
        volume, labels = phantom(0)
        write_image(Volume(np.zeros_like(labels), volume.ijk_to_ras), file)
    cohort = run_to_end(read_cohort(tmp_path))
    with pytest.raises(InputError, match="hold nothing; draw in at least one"):
        run_to_end(finetune(cohort, finetuning_configuration("tiny"), RunFolder(tmp_path / "run")))
