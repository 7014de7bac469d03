"""Accepting the cases of a cohort, and taking that back: nothing is ever lost or half there."""

import errno
import json
import multiprocessing
import os
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
from forked import forked_together
from loop_folders import accept_when_all_are_ready, drawn, patient, write_patients

from S3NetSegmentLib.engine import InputError, ResourceError, Segment, Segmentation
from S3NetSegmentLib.engine.cohort_loop import accepting, store
from S3NetSegmentLib.engine.cohort_loop.accepting import accept, cohort_segments, undo
from S3NetSegmentLib.engine.cohort_loop.segment_names import UnknownSegmentsError
from S3NetSegmentLib.engine.cohort_loop.states import cohort_state
from S3NetSegmentLib.engine.cohort_loop.store import ACCEPTED, HISTORY, PROPOSED, CohortStore
from S3NetSegmentLib.engine.images import file_facts
from S3NetSegmentLib.engine.images.formats.seg_nrrd import read_segmentation
from S3NetSegmentLib.engine.images.writing import write_image


@pytest.fixture
def cohort(tmp_path):
    return CohortStore(write_patients(tmp_path / "scans", "anna", "bert", "carl"))


def states(cohort) -> dict[str, str]:
    return {case.name: case.state for case in cohort_state(cohort).cases}


def labels_of(cohort, case) -> dict[str, int]:
    found = read_segmentation(cohort.segmentation_path(ACCEPTED, case))
    return {s.name: int(found.mask(s).sum()) for s in found.segments}


def test_an_accepted_case_lies_in_the_folder_as_it_was_drawn(cohort):
    volume, labels = patient(0)
    accept(cohort, "anna", drawn(volume, labels), source="anna.seg.nrrd")
    assert states(cohort) == {"anna": "accepted", "bert": "to do", "carl": "to do"}
    assert labels_of(cohort, "anna") == {"Liver": (labels == 1).sum(), "Spleen": (labels == 2).sum()}
    assert cohort_state(cohort).progress == "1 of 3 accepted, 2 patients left"
    facts = cohort.record(ACCEPTED, "anna")
    assert facts["by"] == store.who() and facts["source"] == "anna.seg.nrrd" and facts["image"]["path"] == "anna.nii.gz"


def test_the_folder_works_the_same_at_another_place(cohort, tmp_path):
    volume, labels = patient(0)
    accept(cohort, "anna", drawn(volume, labels))
    elsewhere = CohortStore(shutil.move(cohort.folder, tmp_path / "on another disk"))
    assert states(elsewhere)["anna"] == "accepted"
    assert elsewhere.image_facts("anna")["sha256"] == elsewhere.record(ACCEPTED, "anna")["image"]["sha256"]


def test_a_second_acceptance_is_refused_and_with_replace_the_first_is_kept(cohort):
    volume, labels = patient(0)
    accept(cohort, "anna", drawn(volume, labels))
    smaller = np.where(np.arange(labels.shape[0])[:, None, None] % 2, labels, 0)
    with pytest.raises(InputError, match=r"accepted by .* already"):
        accept(cohort, "anna", drawn(volume, smaller))
    assert labels_of(cohort, "anna")["Liver"] == (labels == 1).sum()
    accept(cohort, "anna", drawn(volume, smaller), replace=True)
    assert labels_of(cohort, "anna")["Liver"] == (smaller == 1).sum()
    assert undo(cohort, "anna") == "accepted"
    assert labels_of(cohort, "anna")["Liver"] == (labels == 1).sum()
    record = cohort.record(ACCEPTED, "anna")
    assert record["segmentation_sha256"] == cohort.digest(ACCEPTED, "anna")  # of that version
    assert undo(cohort, "anna") == "to do"
    assert states(cohort)["anna"] == "to do" and len(list((cohort.work / HISTORY / "anna").glob("*.seg.nrrd"))) == 2
    with pytest.raises(InputError, match="not accepted"):
        undo(cohort, "anna")


def test_what_is_taken_back_is_kept_with_its_record(cohort):
    volume, labels = patient(0)
    accept(cohort, "anna", drawn(volume, labels), source="first")
    accept(cohort, "anna", drawn(volume, labels), source="second", replace=True)
    undo(cohort, "anna")
    undo(cohort, "anna")
    history = cohort.work / HISTORY / "anna"
    kept = [json.loads(path.read_text())["source"] for path in sorted(history.glob("*-taken-back.json"))]
    assert kept == ["second", "first"]
    assert {p.name.split(".")[0] for p in history.glob("*.json")} == {
        p.name.split(".")[0] for p in history.glob("*.nrrd")
    }


def test_names_that_no_accepted_case_has_bind_nobody(cohort):
    volume, labels = patient(0)
    accept(cohort, "anna", drawn(volume, labels, ("Segment 1", "Segment 2")))
    undo(cohort, "anna")
    accept(cohort, "anna", drawn(volume, labels))
    assert cohort_segments(cohort).names == ("Liver", "Spleen")
    accept(cohort, "anna", drawn(volume, labels, ("Lever", "Milt")), replace=True)
    assert cohort_segments(cohort).names == ("Lever", "Milt")
    with pytest.raises(UnknownSegmentsError):
        accept(cohort, "bert", drawn(*patient(1)))


def test_a_proposal_for_an_image_that_was_replaced_since_is_not_accepted(cohort):
    volume, labels = patient(1)
    record = {"image": cohort.image_facts("bert"), "expected_dice": 0.9}
    cohort.write_with_record(PROPOSED, "bert", drawn(volume, labels), record)
    write_image(patient(2)[0], cohort.image_of("bert"))
    with pytest.raises(InputError, match="has changed since it was proposed; propose it again"):
        accept(cohort, "bert")
    found = accept(cohort, "bert", drawn(*patient(2)))  # what is drawn on the new image is right
    assert found.changed is None  # of a proposal for another image


def test_while_one_accepts_another_is_told_so(cohort):
    volume, labels = patient(0)
    with cohort.case_lock("anna"), pytest.raises(InputError, match="somebody else at this moment"):
        accept(CohortStore(cohort.folder), "anna", drawn(volume, labels))
    assert states(cohort)["anna"] == "to do"
    accept(cohort, "anna", drawn(volume, labels))


def test_of_two_accepts_at_once_one_counts_and_the_other_is_told(cohort):
    barrier = multiprocessing.get_context("forkserver").Barrier(2)
    orders = [(cohort.folder, "anna", half, barrier) for half in (False, True)]
    told = sorted(done.stdout.strip() for done in forked_together(accept_when_all_are_ready, orders, [os.environ] * 2))
    assert told[0] == "accepted" and "anna" in told[1] and told[1] != "accepted"
    record = cohort.record(ACCEPTED, "anna")
    assert record["segmentation_sha256"] == cohort.digest(ACCEPTED, "anna")


def test_of_two_first_acceptances_with_other_names_at_once_one_names_the_segments(cohort, monkeypatch):
    real, refused = CohortStore.write_with_record, []

    def accept_the_other():
        try:
            accept(CohortStore(cohort.folder), "bert", drawn(*patient(1), ("Lever", "Milt")))
        except UnknownSegmentsError as error:
            refused.append(str(error))

    other = threading.Thread(target=accept_the_other)

    def slowly(self, kind, case, *content):
        if case == "anna":  # its names are known by now, and nothing is accepted yet
            other.start()
            other.join(0.5)
        real(self, kind, case, *content)

    monkeypatch.setattr(CohortStore, "write_with_record", slowly)
    accept(cohort, "anna", drawn(*patient(0)))
    other.join(60)
    assert cohort_segments(cohort).names == ("Liver", "Spleen") and cohort.accepted() == ["anna"]
    assert len(refused) == 1 and "'Lever', 'Milt', and the segments of the cohort are Liver, Spleen" in refused[0]


@pytest.mark.parametrize("files_that_fit", range(4))
def test_a_disk_that_becomes_full_changes_nothing(cohort, monkeypatch, files_that_fit):
    volume, labels = patient(0)
    accept(cohort, "anna", drawn(volume, labels))
    before = cohort.digest(ACCEPTED, "anna"), cohort.record(ACCEPTED, "anna")
    real, written = store.os.fsync, []

    def full(number):
        written.append(number)
        if len(written) > files_that_fit:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(number)

    monkeypatch.setattr(store.os, "fsync", full)
    smaller = np.where(labels == 1, 1, 0).astype(np.uint8)
    if files_that_fit < 2:  # the segmentation and its record
        with pytest.raises(ResourceError, match="full"):
            accept(cohort, "anna", drawn(volume, smaller), replace=True)
        assert (cohort.digest(ACCEPTED, "anna"), cohort.record(ACCEPTED, "anna")) == before
    else:
        accept(cohort, "anna", drawn(volume, smaller), replace=True)
        assert labels_of(cohort, "anna")["Spleen"] == 0
    left = [p.name for p in (cohort.work / ACCEPTED).iterdir()]
    assert sorted(left) == ["anna.json", "anna.seg.nrrd"]


def test_a_program_that_is_killed_before_the_last_rename_has_accepted_nothing(cohort, monkeypatch):
    volume, labels = patient(0)

    class Killed(BaseException):
        pass

    real = store.replacing.__wrapped__.__globals__["rename_over"]

    def killed(source, target):
        if Path(target).name == "anna.seg.nrrd":
            raise Killed
        return real(source, target)

    monkeypatch.setitem(store.replacing.__wrapped__.__globals__, "rename_over", killed)
    with pytest.raises(Killed):
        accept(cohort, "anna", drawn(volume, labels))
    assert states(cohort)["anna"] == "to do"  # though its record may be there already
    monkeypatch.undo()
    accept(cohort, "anna", drawn(volume, labels))
    assert states(cohort)["anna"] == "accepted"


def test_a_lost_or_damaged_record_loses_no_case(cohort):
    volume, labels = patient(0)
    accept(cohort, "anna", drawn(volume, labels))
    cohort.record_path(ACCEPTED, "anna").write_text("{ half a rec")
    assert states(cohort)["anna"] == "accepted"
    cohort.record_path(ACCEPTED, "anna").unlink()
    assert states(cohort)["anna"] == "accepted" and undo(cohort, "anna") == "to do"


def test_segments_are_paired_by_name_whatever_their_values(cohort):
    (a, labels_a), (b, labels_b) = patient(0), patient(1)
    accept(cohort, "anna", drawn(a, labels_a))
    accept(cohort, "bert", drawn(b, labels_b, (" spleen", "LIVER"), (7, 3)))
    found = read_segmentation(cohort.segmentation_path(ACCEPTED, "bert"))
    assert [(s.name, s.value) for s in found.segments] == [("Liver", 1), ("Spleen", 2)]
    assert labels_of(cohort, "bert") == {"Liver": (labels_b == 2).sum(), "Spleen": (labels_b == 1).sum()}


def test_an_unknown_name_is_asked_once(cohort):
    (a, labels_a), (b, labels_b), (c, labels_c) = patient(0), patient(1), patient(2)
    accept(cohort, "anna", drawn(a, labels_a))
    with pytest.raises(UnknownSegmentsError, match=r"--same 'hepar=Liver'") as refused:
        accept(cohort, "bert", drawn(b, labels_b, ("hepar", "Spleen")))
    assert refused.value.unknown == ("hepar",) and refused.value.known == ("Liver", "Spleen")
    assert states(cohort)["bert"] == "to do"
    told = accept(cohort, "bert", drawn(b, labels_b, ("hepar", "Spleen")), same={"Hepar": "liver"})
    assert any("'hepar' is 'Liver'" in note for note in told.notes)
    accept(cohort, "carl", drawn(c, labels_c, ("hepar", "Spleen")))  # not asked again
    assert labels_of(cohort, "carl") == {"Liver": (labels_c == 1).sum(), "Spleen": (labels_c == 2).sum()}


def test_a_new_segment_joins_the_cohort_only_when_that_is_said(cohort):
    (a, labels_a), (b, labels_b) = patient(0), patient(1)
    accept(cohort, "anna", drawn(a, np.where(labels_a == 1, 1, 0).astype(np.uint8)))
    assert cohort_segments(cohort).names == ("Liver",)
    with pytest.raises(UnknownSegmentsError):
        accept(cohort, "bert", drawn(b, labels_b, values=(2, 1)))
    accept(cohort, "bert", drawn(b, labels_b, values=(2, 1)), new_segments=True)
    assert [(s.name, s.value) for s in cohort_segments(cohort).segments] == [("Liver", 1), ("Spleen", 2)]
    assert labels_of(cohort, "bert") == {"Liver": (labels_b == 1).sum(), "Spleen": (labels_b == 2).sum()}


def test_two_names_for_one_segment_are_refused(cohort):
    (a, labels_a), (b, labels_b) = patient(0), patient(1)
    accept(cohort, "anna", drawn(a, labels_a))
    with pytest.raises(InputError, match="which are both 'Liver'"):
        accept(cohort, "bert", drawn(b, labels_b, ("Liver", "liver ")))


def test_an_answer_that_names_no_segment_of_the_cohort_is_refused(cohort):
    (a, labels_a), (b, labels_b) = patient(0), patient(1)
    accept(cohort, "anna", drawn(a, labels_a))
    with pytest.raises(InputError, match="'kidney' is not a segment of the cohort, which has Liver, Spleen"):
        accept(cohort, "bert", drawn(b, labels_b, ("hepar", "Spleen")), same={"hepar": "kidney"})


def test_what_is_not_drawn_is_told_and_nothing_at_all_is_refused(cohort):
    (a, labels_a), (b, labels_b) = patient(0), patient(1)
    accept(cohort, "anna", drawn(a, labels_a))
    notes = accept(cohort, "bert", drawn(b, np.where(labels_b == 1, 1, 0).astype(np.uint8))).notes
    assert any("absent" in note and "Spleen" in note for note in notes)
    c, labels_c = patient(2)
    with pytest.raises(InputError, match="holds nothing"):
        accept(cohort, "carl", drawn(c, 0 * labels_c))
    accept(cohort, "carl", drawn(c, 0 * labels_c), empty=True)
    assert labels_of(cohort, "carl") == {"Liver": 0, "Spleen": 0}


def test_segments_that_overlap_stay_whole(cohort):
    volume, labels = patient(0)
    whole, part = (labels > 0).astype(np.uint8), (labels == 1).astype(np.uint8)
    both = Segmentation(
        [whole, part], [Segment("Organs", (1, 0, 0), 1, 0), Segment("Liver", (0, 1, 0), 1, 1)], volume.ijk_to_ras
    )
    accept(cohort, "anna", both)
    assert labels_of(cohort, "anna") == {"Organs": whole.sum(), "Liver": part.sum()}


def test_a_segmentation_of_another_image_and_a_case_that_is_gone_are_refused(cohort):
    volume, labels = patient(0, spacing=(2.0, 2.0, 6.0))
    with pytest.raises(InputError, match="does not lie on the grid"):
        accept(cohort, "anna", drawn(volume, labels))
    (cohort.folder / "anna.nii.gz").unlink()
    with pytest.raises(InputError, match="no case 'anna'"):
        accept(cohort, "anna", drawn(*patient(0)))


def test_a_folder_that_changes_while_it_is_open_is_seen_as_it_is(cohort):
    accept(cohort, "anna", drawn(*patient(0)))
    (cohort.folder / "anna.nii.gz").rename(cohort.folder / "zora.nii.gz")
    write_patients(cohort.folder, "new")
    assert states(cohort) == {
        "anna": "image missing", "bert": "to do", "carl": "to do", "new": "to do", "zora": "to do",
    }  # fmt: skip
    (cohort.folder / "zora.nii.gz").rename(cohort.folder / "anna.nii.gz")
    assert states(cohort)["anna"] == "accepted"


def test_an_accepted_file_that_somebody_edits_is_told(cohort):
    accept(cohort, "anna", drawn(*patient(0)))
    path = cohort.segmentation_path(ACCEPTED, "anna")
    path.write_bytes(path.read_bytes() + b" ")
    (anna,) = (case for case in cohort_state(cohort).cases if case.name == "anna")
    assert anna.state == "accepted" and any("changed outside of this program" in note for note in anna.notes)


def test_looking_again_reads_no_file_that_is_as_it_was(cohort, monkeypatch):
    for number, name in enumerate(("anna", "bert")):
        accept(cohort, name, drawn(*patient(number)))
    read, real, samples = [], file_facts.digest_of, store.sampled
    monkeypatch.setattr(file_facts, "digest_of", lambda path: read.append(path.name) or real(path))
    monkeypatch.setattr(store, "sampled", lambda files: read.extend(files) or samples(files))
    before = cohort_state(cohort)
    read.clear()
    assert cohort_state(cohort) == before and read == []
    path = cohort.segmentation_path(ACCEPTED, "anna")
    path.write_bytes(path.read_bytes() + b" ")
    cohort_state(cohort)
    assert read == ["anna.seg.nrrd"]


def test_a_damaged_list_of_segments_is_refused_and_not_replaced(cohort):
    accept(cohort, "anna", drawn(*patient(0)))
    (cohort.work / accepting.SEGMENTS).write_text("[[[")
    with pytest.raises(InputError, match="restore it"):
        accept(cohort, "bert", drawn(*patient(1)))
    assert (cohort.work / accepting.SEGMENTS).read_text() == "[[["


def test_a_case_that_somebody_else_works_on_is_free_again_the_next_day(cohort, monkeypatch):
    monkeypatch.setattr(store, "who", lambda: "eve@ward")
    cohort.take("anna")
    monkeypatch.undo()
    assert cohort.taken_by("anna") == "eve@ward"
    path = cohort.work / "taken" / "anna.json"
    path.write_text(json.dumps({"by": "eve@ward", "when": "2020-01-01T00:00:00+00:00"}))
    assert cohort.taken_by("anna") == ""
    path.write_text(json.dumps({"by": "eve@ward", "when": "yesterday"}))
    assert cohort.taken_by("anna") == ""
