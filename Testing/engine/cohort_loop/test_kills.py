"""A program that is killed while it accepts a case or takes an acceptance back: at every file that it opens, renames, removes or flushes."""

import os
import shutil
import signal
import time

import numpy as np
import pytest
from forked import forked
from loop_folders import drawn, half_of, killed_at, patient, write_patients

from S3NetSegmentLib.engine.cohort_loop.accepting import accept, undo
from S3NetSegmentLib.engine.cohort_loop.states import cohort_state
from S3NetSegmentLib.engine.cohort_loop.store import ACCEPTED, CohortStore
from S3NetSegmentLib.engine.images.formats.seg_nrrd import read_segmentation

VOLUME, LABELS = patient(0)
HALF = half_of(LABELS)
# What is done: what is accepted before, and what may be accepted where it is broken off (None: nothing).
WORKS = {
    "accept": ((), (None, LABELS)),
    "replace": ((LABELS,), (LABELS, HALF)),
    "undo": ((LABELS, HALF), (HALF, LABELS)),
}
pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="nothing is killed so on this system")


def accepted_in(store):
    """What is accepted for anna, as a label map; None if nothing is."""
    path = store.segmentation_path(ACCEPTED, "anna")
    return read_segmentation(path).flattened() if path.is_file() else None


def same(one, other):
    return one is other is None or (one is not None and other is not None and np.array_equal(one, other))


def begun(folder, before):
    store = CohortStore(write_patients(folder, "anna", "bert"))
    for labels in before:
        accept(store, "anna", drawn(VOLUME, labels), replace=True)
    return store


def check_state(store, before, possible):
    """Only what is known is there, whole, and everything that was accepted is there or in the history."""
    found = accepted_in(store)
    assert any(same(found, labels) for labels in possible)
    cases = {case.name: case for case in cohort_state(store).cases}
    assert list(cases) == ["anna", "bert"] and cases["anna"].state == ("to do" if found is None else "accepted")
    record = store.record(ACCEPTED, "anna")
    if found is not None and record["segmentation_sha256"] != store.digest(ACCEPTED, "anna"):
        assert any("accepting another was broken off" in note for note in cases["anna"].notes)
    kept = [read_segmentation(p).flattened() for p in store.work.glob("history/anna/[!.]*.seg.nrrd")]
    assert all(any(same(labels, one) for one in (found, *kept)) for labels in before)


@pytest.mark.parametrize("what", WORKS)
def test_whoever_is_killed_leaves_what_was_before_or_the_whole_of_what_was_asked(tmp_path, what):
    before, possible = WORKS[what]
    told, origin = [], begun(tmp_path / "scans", before).folder
    for moment in range(1, 200):
        folder = tmp_path / f"scans{moment}"
        shutil.copytree(origin, folder)
        ended = forked(killed_at, moment, folder, what, variables=os.environ)
        store = CohortStore(folder)
        check_state(store, before, possible)
        if ended.returncode == 0:
            break
        assert ended.returncode == -signal.SIGKILL, ended.stderr
        told.append(ended.stdout)
        done = same(accepted_in(store), possible[1])
        if what == "undo":
            undo(store, "anna") if not done else None
        else:
            accept(store, "anna", drawn(VOLUME, possible[1]), replace=True)
        assert same(accepted_in(store), possible[1])
        assert store.record(ACCEPTED, "anna")["segmentation_sha256"] == store.digest(ACCEPTED, "anna")
        shutil.rmtree(folder)
    assert ended.returncode == 0 and len(told) > 8 and {"open", "os.rename"} <= set(told)


def test_what_was_half_written_long_ago_is_removed_and_nothing_else(tmp_path):
    store = begun(tmp_path / "scans", (LABELS,))
    half = [store.work / ACCEPTED / f".{n:012x}.seg.nrrd" for n in range(2)]
    others = [store.work / ACCEPTED / ".mine", store.work / ACCEPTED / ".0123456789ab.docx"]
    for path in (*half, *others):
        path.write_text("half")
        os.utime(path, (1, 1))
    os.utime(half[1], (time.time(), time.time()))  # somebody writes it now
    assert store.accepted() == ["anna"]
    accept(store, "bert", drawn(*patient(1)))
    assert [path.exists() for path in (*half, *others)] == [False, True, True, True]
