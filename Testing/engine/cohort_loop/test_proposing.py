"""Proposals from accepted patients, and the case that comes next."""

import numpy as np
import pytest
from few_shot_phantoms import dice
from loop_folders import drawn, patient, write_patients

from S3NetSegmentLib.engine import InputError, ResourceError, run_to_end
from S3NetSegmentLib.engine.cohort_loop import proposing
from S3NetSegmentLib.engine.cohort_loop import store as store_module
from S3NetSegmentLib.engine.cohort_loop.accepting import accept, undo
from S3NetSegmentLib.engine.cohort_loop.choosing import most_helpful, nearest_accepted
from S3NetSegmentLib.engine.cohort_loop.proposing import drawing_of, propose
from S3NetSegmentLib.engine.cohort_loop.states import cohort_state, in_order, next_case
from S3NetSegmentLib.engine.cohort_loop.store import ACCEPTED, PROPOSED, CohortStore
from S3NetSegmentLib.engine.images.formats.seg_nrrd import read_segmentation
from S3NetSegmentLib.engine.images.writing import write_frames, write_image

QUICK = {"encoder": "default"}
pytestmark = pytest.mark.usefixtures("few_places")


@pytest.fixture
def cohort(tmp_path):
    store = CohortStore(write_patients(tmp_path / "scans", "anna", "bert", "carl"))
    accept(store, "anna", drawn(*patient(0)))
    return store


def case_of(store, name):
    return next(case for case in cohort_state(store).cases if case.name == name)


def test_a_proposal_from_an_accepted_patient_lies_in_the_folder_with_quality_and_picture(cohort):
    proposal = run_to_end(propose(cohort, "bert", **QUICK))
    labels = patient(1)[1]
    found = read_segmentation(cohort.segmentation_path(PROPOSED, "bert"))
    for number, segment in enumerate(found.segments, 1):
        assert dice(found.mask(segment).astype(np.uint8), (labels == number).astype(np.uint8), 1) > 0.8
    bert = case_of(cohort, "bert")
    assert (bert.state, bert.way) == ("proposed", "few-shot") and proposal.supports == ("anna",)
    assert 0.5 < bert.expected <= 1 and bert.picture.is_file() and bert.next_slices
    accept(cohort, "bert")
    assert case_of(cohort, "bert").changed == 0 and cohort.record(ACCEPTED, "bert")["source"] == "the proposal"


def test_a_slice_drawn_in_the_case_is_in_the_proposal_and_is_kept_for_the_next_one(cohort):
    volume, labels = patient(1)
    odd = np.zeros_like(labels)
    odd[5, 3:9, 3:9] = 2  # nobody would propose this
    drawing = drawing_of(cohort, "bert", drawn(volume, odd), volume, "z", [5])
    run_to_end(propose(cohort, "bert", drawing, **QUICK))
    assert case_of(cohort, "bert").state == "corrected"
    for _ in range(2):
        found = read_segmentation(cohort.segmentation_path(PROPOSED, "bert"))
        assert np.array_equal(found.flattened()[5], odd[5])
        run_to_end(propose(cohort, "bert", **QUICK))  # with what was drawn before


def test_a_drawing_alone_is_enough_where_nothing_is_accepted(tmp_path):
    store = CohortStore(write_patients(tmp_path / "scans", "anna"))
    volume, labels = patient(0)
    with pytest.raises(InputError, match="nothing is accepted yet"):
        run_to_end(propose(store, "anna", **QUICK))
    drawing = drawing_of(store, "anna", drawn(volume, labels), volume, "z", [3, 6])
    proposal = run_to_end(propose(store, "anna", drawing, **QUICK))
    assert [s.name for s in proposal.segmentation.segments] == ["Liver", "Spleen"] and proposal.supports == ()


def test_a_drawing_across_several_axes_is_refused_until_one_is_named(cohort):
    volume, labels = patient(1)
    crossed = np.zeros_like(labels)
    crossed[5], crossed[:, 12] = labels[5], labels[:, 12]
    with pytest.raises(InputError, match=r"several axes \(5 along z and 12 along y\)"):
        drawing_of(cohort, "bert", drawn(volume, crossed), volume)
    assert drawing_of(cohort, "bert", drawn(volume, crossed), volume, "z", [5]).slices == (5,)


def test_a_new_segment_that_is_drawn_for_a_proposal_is_in_it(cohort):
    volume, labels = patient(1)
    odd = np.where(labels == 2, 2, 0)
    odd[5, 3:9, 3:9] = 1
    drawing = drawing_of(
        cohort, "bert", drawn(volume, odd, ("Cyst", "Milt")), volume, "z", [5], same={"Milt": "Spleen"}, new_segments=True
    )  # fmt: skip
    proposal = run_to_end(propose(cohort, "bert", drawing, **QUICK))
    found = {s.name: proposal.segmentation.mask(s) for s in proposal.segmentation.segments}
    assert list(found) == ["Liver", "Spleen", "Cyst"]
    assert np.array_equal(found["Cyst"][5], odd[5] == 1) and np.array_equal(found["Spleen"][5], odd[5] == 2)
    accept(cohort, "carl", drawn(*patient(2), names=("Liver", "Milt")))  # answered once, for all cases


def test_a_kept_drawing_is_paired_by_name_with_a_cohort_that_calls_its_values_otherwise(tmp_path):
    store = CohortStore(write_patients(tmp_path / "scans", "anna", "bert"))
    volume, labels = patient(0)
    drawing = drawing_of(store, "anna", drawn(volume, labels), volume, "z", [4])
    run_to_end(propose(store, "anna", drawing, **QUICK))
    accept(store, "bert", drawn(*patient(1), names=("Kidney", "Liver")))
    proposal = run_to_end(propose(store, "anna", **QUICK))
    found = {s.name: proposal.segmentation.mask(s) for s in proposal.segmentation.segments}
    assert np.array_equal(found["Liver"][4], labels[4] == 1) and not found["Kidney"][4].any()
    assert any("drawn in the case as 'Spleen'" in note for note in proposal.notes)


def test_what_was_drawn_in_an_image_that_is_replaced_since_is_not_used(cohort):
    volume, labels = patient(1)
    odd = np.zeros_like(labels)
    odd[5, 3:9, 3:9] = 2
    run_to_end(propose(cohort, "bert", drawing_of(cohort, "bert", drawn(volume, odd), volume, "z", [5]), **QUICK))
    write_image(patient(2)[0], cohort.image_of("bert"))
    proposal = run_to_end(propose(cohort, "bert", **QUICK))
    assert not np.array_equal(proposal.segmentation.flattened()[5], odd[5])
    assert any("its image has been replaced since" in note for note in proposal.notes)


def test_an_unreadable_case_is_left_out_by_name_until_it_is_repaired(cohort):
    good = (cohort.folder / "bert.nii.gz").read_bytes()
    (cohort.folder / "bert.nii.gz").write_bytes(good[: len(good) // 2])
    found = run_to_end(next_case(cohort, "name", **QUICK))
    assert found.case == "carl" and any("'bert' is left out" in note for note in found.notes)
    assert case_of(cohort, "bert").state == "unreadable" and "1 unreadable" in cohort_state(cohort).progress
    (cohort.folder / "bert.nii.gz").write_bytes(good)
    assert case_of(cohort, "bert").state == "to do"


def test_what_was_proposed_is_still_known_of_its_own_image_when_another_in_its_place_could_not_be_read(cohort):
    run_to_end(propose(cohort, "bert", **QUICK))
    path, proposed = cohort.folder / "bert.nii.gz", case_of(cohort, "bert")
    good = path.read_bytes()
    path.write_bytes(good[: len(good) // 2])
    with pytest.raises(InputError, match="cut off"):
        run_to_end(propose(cohort, "bert", **QUICK))
    assert case_of(cohort, "bert").state == "unreadable"
    with pytest.raises(InputError, match="has changed since it was proposed"):
        accept(cohort, "bert")
    path.write_bytes(good)
    assert case_of(cohort, "bert") == proposed
    accept(cohort, "bert")


def test_an_image_for_which_there_is_no_memory_is_left_out_whether_or_not_anything_is_accepted(cohort, monkeypatch):
    real = proposing.read_image

    def limited(path):
        if path.name == "bert.nii.gz":
            raise ResourceError("too large")
        return real(path)

    monkeypatch.setattr(proposing, "read_image", limited)
    assert run_to_end(next_case(cohort, "name", **QUICK)).case == "carl"
    assert case_of(cohort, "bert").state == "to do"  # another time there may be room for it
    for name in ("anna", "bert", "carl"):
        cohort.release(name)
        cohort.record_path(PROPOSED, name).unlink(missing_ok=True)
    undo(cohort, "anna")
    (cohort.folder / "anna.nii.gz").unlink()
    found = run_to_end(next_case(cohort, "name", **QUICK))
    assert found.case == "carl" and any("'bert' is left out: too large" in note for note in found.notes)


def test_of_a_case_with_several_frames_is_said_what_can_be_done_in_a_cohort(cohort):
    write_frames([patient(1)[0], patient(2)[0]], cohort.image_of("bert"))
    with pytest.raises(
        InputError, match=r"bert.nii.gz' is 4D .*; save the frame that you mean as a 3D file of its own"
    ):
        run_to_end(propose(cohort, "bert", **QUICK))


def test_an_accepted_case_whose_image_was_exchanged_helps_no_other(cohort):
    accept(cohort, "bert", drawn(*patient(1)))
    write_image(patient(5)[0], cohort.folder / "anna.nii.gz")
    proposal = run_to_end(propose(cohort, "carl", **QUICK))
    assert proposal.supports == ("bert",)
    assert any("'anna' is not used" in note and "changed" in note for note in proposal.notes)


def test_two_people_get_different_cases(cohort, monkeypatch):
    mine = run_to_end(next_case(cohort, "name", **QUICK))
    again = run_to_end(next_case(cohort, "name", **QUICK))
    assert mine.case == again.case == "bert"
    monkeypatch.setattr(store_module, "who", lambda: "eve@ward")
    assert run_to_end(next_case(CohortStore(cohort.folder), "name", **QUICK)).case == "carl"
    assert case_of(cohort, "bert").by.endswith(store_module.platform.node())


def test_after_the_last_case_there_is_no_next_one(cohort):
    for number, name in ((1, "bert"), (2, "carl")):
        accept(cohort, name, drawn(*patient(number)))
    found = run_to_end(next_case(cohort, **QUICK))
    assert (found.case, found.proposal) == ("", None) and found.state.left == 0


def test_without_any_accepted_case_the_next_one_is_named_for_drawing(tmp_path):
    store = CohortStore(write_patients(tmp_path / "scans", "anna", "bert"))
    found = run_to_end(next_case(store, "name", **QUICK))
    assert found.case == "anna" and found.proposal is None and case_of(store, "anna").state == "to do"


def test_the_case_that_helps_most_is_like_many_others_and_unlike_what_is_accepted(tmp_path):
    folder = write_patients(tmp_path / "scans", "a")
    for name, seed in (("b", 11), ("c", 12), ("d", 13)):  # three of a kind
        write_image(patient(0, seed=seed, turn=1.2, shift=(-18, 12, 0))[0], folder / f"{name}.nii.gz")
    store = CohortStore(folder)
    fractions = [step.fraction for step in most_helpful(store, ["b", "c"], ["a", "d"])]  # which reads their images
    assert fractions == sorted(fractions)
    assert run_to_end(most_helpful(store, ["a", "b", "c", "d"], []))[0] in "bcd"
    accept(store, "b", drawn(*patient(0, seed=11, turn=1.2, shift=(-18, 12, 0))))
    assert run_to_end(in_order(store, cohort_state(store)))[0] == "a"
    with pytest.raises(InputError, match="helps, name"):
        run_to_end(in_order(store, cohort_state(store), "best"))


def test_the_likest_accepted_patients_are_the_support(tmp_path):
    folder = write_patients(tmp_path / "scans", "a", "b")
    like = {"turn": 1.2, "shift": (-18, 12, 0)}
    for name, seed in (("c", 13), ("d", 14)):
        write_image(patient(0, seed=seed, **like)[0], folder / f"{name}.nii.gz")
    store = CohortStore(folder)
    for name, case in (("a", patient(0)), ("b", patient(1)), ("c", patient(0, seed=13, **like))):
        accept(store, name, drawn(*case))
    volume = patient(0, seed=14, **like)[0]
    assert run_to_end(nearest_accepted(store, "d", volume, 1)) == ["c"]
    assert run_to_end(nearest_accepted(store, "d", volume, 5)) == ["a", "b", "c"]
