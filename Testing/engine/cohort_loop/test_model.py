"""A model of the accepted cases: when it is trained, how it is judged, and where it is used."""

import shutil

import numpy as np
import pytest
from loop_folders import accepted_cohort, drawn, patient, write_patients

from S3NetSegmentLib.engine import InputError, run_to_end
from S3NetSegmentLib.engine.cohort_loop import model
from S3NetSegmentLib.engine.cohort_loop.accepting import accept, cohort_segments
from S3NetSegmentLib.engine.cohort_loop.proposing import ReadCases, propose, supports_of, with_masks
from S3NetSegmentLib.engine.cohort_loop.store import CohortStore
from S3NetSegmentLib.engine.few_shot.method import FewShot
from S3NetSegmentLib.engine.images.writing import write_image

NAMES = ("a", "b", "c", "d", "e", "f", "g")


@pytest.fixture
def store(tmp_path):
    """Six accepted cases and an open one."""
    return accepted_cohort(tmp_path / "scans", NAMES, 6)


@pytest.fixture
def judged(monkeypatch):
    """Held-out scores as given instead of measured ones."""

    def judge(by_model, by_few_shot):
        def fixed(scores):
            def steps(*_):
                yield from ()
                return dict(zip(("Liver", "Spleen"), scores, strict=True))

            return steps

        monkeypatch.setattr(model, "_model_dice", fixed(by_model))
        monkeypatch.setattr(model, "_few_shot_dice", fixed(by_few_shot))

    return judge


def train(store):
    return run_to_end(model.train(store, 5.0, steps=2, device="cpu"))


def test_a_model_is_used_only_for_the_segments_that_it_finds_better(store, judged):
    judged((0.9, 0.5), (0.7, 0.7))
    trained = train(store)
    assert trained.used == ("Liver",) and trained.cases == 6
    volume = patient(6)[0]
    masks, expected = run_to_end(model.found_by_model(store, volume, cohort_segments(store), "cpu"))
    assert list(masks) == ["Liver"] and expected == {"Liver": 0.9}
    proposal = run_to_end(propose(store, "g", supports=1, encoder="default", device="cpu"))
    assert proposal.way == "few-shot; Liver by the model"
    liver = proposal.segmentation.segments[0]
    assert not (proposal.segmentation.mask(liver) & ~masks["Liver"]).any()


def test_a_model_that_is_no_better_is_not_used(store, judged):
    judged((0.7, 0.7), (0.7, 0.7))
    assert train(store).used == ()
    assert run_to_end(model.found_by_model(store, patient(6)[0], cohort_segments(store), "cpu")) == ({}, {})


def test_a_training_that_is_killed_leaves_the_former_model_in_use(store, judged, monkeypatch):
    judged((0.9, 0.9), (0.7, 0.7))
    (store.work / "model" / "killed" / "fold0").mkdir(parents=True)  # in a way that left no time to tidy
    train(store)
    before = store.read(model.CURRENT)
    assert [path.name for path in (store.work / before["run"]).iterdir()] == ["final"]
    steps = model.train(store, 5.0, steps=2, device="cpu")
    for _ in range(5):
        next(steps)
    steps.close()
    assert store.read(model.CURRENT) == before
    assert [p.name for p in (store.work / "model").iterdir() if p.is_dir()] == [before["run"].split("/")[1]]
    masks, _ = run_to_end(model.found_by_model(store, patient(6)[0], cohort_segments(store), "cpu"))
    assert list(masks) == ["Liver", "Spleen"]


def test_the_trained_model_is_scored_on_the_cases_that_were_held_out(store, monkeypatch):
    monkeypatch.setattr(model, "_SCORED", 0)  # Few-shot is measured in tests of its own
    trained = train(store)
    assert trained.model.keys() == {"Liver", "Spleen"} and trained.few_shot == {}
    assert all(0 <= score <= 1 for score in trained.model.values())
    assert store.read(model.CURRENT)["model"] == trained.model


def test_measuring_few_shot_takes_no_more_cases_than_there_is_time_for(store, judged, monkeypatch):
    judged((0.9, 0.5), (0.7, 0.7))
    measured, scored = [], model._few_shot_dice
    monkeypatch.setattr(model, "_few_shot_dice", lambda _store, name, *rest: measured.append(name) or scored())
    train(store)
    assert len(measured) == 6
    measured.clear()
    run_to_end(model.train(store, 0.0, steps=2, device="cpu"))
    assert len(measured) == 3  # one of each part


def test_too_few_cases_and_a_second_training_at_once_are_refused(tmp_path, store):
    few = CohortStore(write_patients(tmp_path / "few", "a", "b"))
    accept(few, "a", drawn(*patient(0)))
    with pytest.raises(InputError, match="1 accepted cases can be trained on, and a model needs 6; accept 5 more"):
        train(few)
    with store.model_lock(), pytest.raises(InputError, match="somebody trains a model"):
        train(store)


def test_a_case_whose_image_was_exchanged_is_not_trained_on(store):
    write_image(patient(9)[0], store.folder / "a.nii.gz")
    with pytest.raises(InputError, match=r"5 accepted cases .*'a' is not trained on: the image .* has changed"):
        train(store)


def test_an_image_under_two_names_is_trained_on_once_since_it_would_be_held_out_from_itself(store):
    shutil.copyfile(store.folder / "a.nii.gz", store.folder / "b.nii.gz")
    accept(store, "b", drawn(*patient(0)), replace=True)
    with pytest.raises(
        InputError, match=r"5 accepted cases .*'b' is not trained on: it has the same image as case 'a'"
    ):
        train(store)


def test_few_shot_is_measured_on_a_held_out_case(store):
    scores = run_to_end(model._few_shot_dice(store, "a", ["b"], cohort_segments(store), ReadCases(), FewShot))
    assert scores.keys() == {"Liver", "Spleen"} and min(scores.values()) > 0.6


def test_few_shot_is_measured_with_the_likest_cases_that_are_not_held_out(store, monkeypatch):
    used = []

    def noted(store, names, *others):
        used.extend(names)
        return supports_of(store, names, *others)

    monkeypatch.setattr(model, "SUPPORTS", 1)
    monkeypatch.setattr(model, "supports_of", noted)
    run_to_end(model._few_shot_dice(store, "f", ["a", "b", "d"], cohort_segments(store), ReadCases(), FewShot))
    assert used == ["d"]


def test_masks_replace_their_segment_and_leave_the_others():
    labels = np.array([[[1, 1, 2, 0]]], np.uint8)
    mask = np.array([[[False, True, True, True]]])
    assert with_masks([labels], {1: mask})[0].ravel().tolist() == [0, 1, 2, 1]
