"""A cohort whose images are replaced, are there twice or cannot be read, and a folder that cannot be written into."""

import contextlib
import os
import shutil

import numpy as np
import pytest
import SimpleITK as sitk
from image_files import write_dicom_series
from loop_folders import drawn, patient, write_patients

from S3NetSegmentLib.engine import InputError, ResourceError, Segmentation, run_to_end
from S3NetSegmentLib.engine.cohort_loop.accepting import accept
from S3NetSegmentLib.engine.cohort_loop.choosing import most_helpful
from S3NetSegmentLib.engine.cohort_loop.proposing import drawing_of, propose
from S3NetSegmentLib.engine.cohort_loop.states import cohort_state, next_case
from S3NetSegmentLib.engine.cohort_loop.store import PROPOSED, CohortStore
from S3NetSegmentLib.engine.images.reading import read_alone
from S3NetSegmentLib.engine.images.writing import write_image

QUICK = {"encoder": "default"}
pytestmark = pytest.mark.usefixtures("few_places")


@pytest.fixture
def cohort(tmp_path):
    store = CohortStore(write_patients(tmp_path / "scans", "anna", "bert", "carl"))
    accept(store, "anna", drawn(*patient(0)))
    return store


def notes_of(store, name):
    return next(case.notes for case in cohort_state(store).cases if case.name == name)


def test_the_state_tells_of_images_that_were_replaced_since_they_were_accepted_or_proposed(cohort):
    run_to_end(propose(cohort, "bert", **QUICK))
    write_image(patient(1)[0], cohort.folder / "bert.nii.gz")  # written again, the same
    assert not any("replaced" in note for name in ("anna", "bert") for note in notes_of(cohort, name))
    for number, name in ((8, "anna"), (9, "bert")):
        write_image(patient(number)[0], cohort.folder / f"{name}.nii.gz")
    assert any("replaced since it was accepted" in note and "--replace" in note for note in notes_of(cohort, "anna"))
    assert any("replaced since it was proposed; propose it again" in note for note in notes_of(cohort, "bert"))
    accept(cohort, "anna", drawn(*patient(8)), replace=True)
    run_to_end(propose(cohort, "bert", **QUICK))
    assert not any("replaced" in note for name in ("anna", "bert") for note in notes_of(cohort, name))


def test_the_state_tells_of_an_image_that_was_replaced_by_one_of_the_same_size(cohort):
    volume, labels = patient(3)
    image = sitk.GetImageFromArray(volume.array.astype(np.int16))
    path = cohort.folder / "dora.nii"
    sitk.WriteImage(image, path)
    size = path.stat().st_size
    accept(cohort, "dora", Segmentation([labels], drawn(volume, labels).segments, read_alone(path).ijk_to_ras))
    sitk.WriteImage(image, path)  # as a copy on another disk
    assert not any("replaced" in note for note in notes_of(cohort, "dora"))
    sitk.WriteImage(sitk.GetImageFromArray(volume.array.astype(np.int16)[..., ::-1].copy()), path)
    assert path.stat().st_size == size
    assert any("replaced since it was accepted" in note for note in notes_of(cohort, "dora"))


def test_the_state_tells_of_a_folder_of_slices_that_was_replaced(cohort):
    volume, labels = patient(3)
    folder, array = cohort.folder / "dora", volume.array.astype(np.int16)
    paths = write_dicom_series(folder, array, volume.ijk_to_ras)
    accept(cohort, "dora", Segmentation([labels], drawn(volume, labels).segments, read_alone(folder).ijk_to_ras))
    for path in paths:
        os.utime(path, (1, 1))
    assert not any("replaced" in note for note in notes_of(cohort, "dora"))
    write_dicom_series(folder, array[..., ::-1].copy(), volume.ijk_to_ras)
    assert any("replaced since it was accepted" in note for note in notes_of(cohort, "dora"))


def test_that_the_only_accepted_case_cannot_be_used_is_said_also_where_an_empty_slice_is_drawn(cohort):
    volume, labels = patient(1)
    nothing = drawn(volume, np.where(np.arange(len(labels))[:, None, None] == 0, 0, labels))
    run_to_end(propose(cohort, "bert", drawing_of(cohort, "bert", nothing, volume, "z", [0]), **QUICK))
    write_image(patient(8)[0], cohort.folder / "anna.nii.gz")
    with pytest.raises(
        InputError, match=r"nothing is accepted yet .*'anna' is not used: the image of case 'anna' has changed"
    ):
        run_to_end(propose(cohort, "bert", **QUICK))


def test_a_patient_under_two_names_is_told(cohort):
    shutil.copyfile(cohort.folder / "anna.nii.gz", cohort.folder / "zoe.nii.gz")
    told = "it has the same image as the accepted case 'anna'; is it one patient under two names?"
    assert told in run_to_end(propose(cohort, "zoe", **QUICK)).notes and told in notes_of(cohort, "zoe")
    assert not any("same image" in note for note in run_to_end(propose(cohort, "bert", **QUICK)).notes)


@pytest.fixture
def write_protected(cohort, monkeypatch):
    """What the cohort writes is refused; as root no folder is write-protected."""

    def refuse(self, name, content):
        raise InputError(f"nothing can be written into {str(self.folder)!r}")

    monkeypatch.setattr(CohortStore, "write", refuse)


def test_in_a_folder_that_cannot_be_written_into_the_order_is_known_and_the_reason_said(cohort, write_protected):
    assert run_to_end(most_helpful(cohort, ["bert", "carl"], ["anna"])) == ["carl", "bert"]
    with pytest.raises(InputError, match="nothing can be written into"):
        run_to_end(next_case(cohort, **QUICK))


def test_where_no_image_can_be_read_next_names_them_and_ends(tmp_path):
    folder = write_patients(tmp_path / "scans", "anna", "bert")
    for name in ("anna", "bert"):
        (folder / f"{name}.nii.gz").write_bytes(b"no image")
    found = run_to_end(next_case(CohortStore(folder), **QUICK))
    assert found.case == "" and [note.split(" is left out")[0] for note in found.notes] == [
        "case 'anna'",
        "case 'bert'",
    ]


def test_a_picture_changes_only_with_the_proposal_that_it_shows(cohort, monkeypatch):
    run_to_end(propose(cohort, "bert", **QUICK))
    picture, before = cohort.picture_path("bert"), cohort.picture_path("bert").read_bytes()
    accept(
        cohort,
        "carl",
        Segmentation([np.roll(patient(2)[1], 5, 2)], drawn(*patient(2)).segments, patient(2)[0].ijk_to_ras),
    )
    write = CohortStore.write_with_record
    monkeypatch.setattr(CohortStore, "write_with_record", lambda *_: (_ for _ in ()).throw(ResourceError("full")))
    with contextlib.suppress(ResourceError):
        run_to_end(propose(cohort, "bert", **QUICK))
    assert picture.read_bytes() == before
    monkeypatch.setattr(CohortStore, "write_with_record", write)
    run_to_end(propose(cohort, "bert", **QUICK))
    assert picture.read_bytes() != before and list(picture.parent.glob(".*")) == []
    assert cohort.segmentation_path(PROPOSED, "bert").is_file()
