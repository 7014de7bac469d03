"""Processes of a batch: they share the machine, and one that dies loses its case, not the batch."""

import multiprocessing
import os
import signal

import numpy as np
import pytest
from batch_cases import write_cohort, write_disk
from forked import loaded_context

from S3NetSegmentLib.engine import Volume
from S3NetSegmentLib.engine.batch import machine
from S3NetSegmentLib.engine.batch.machine import WorkerShare, shares
from S3NetSegmentLib.engine.batch.manifest import read_manifest
from S3NetSegmentLib.engine.batch.resume import make_plan
from S3NetSegmentLib.engine.batch.run import run_plan
from S3NetSegmentLib.engine.batch.workers import InThisProcess, Processes, own_device
from S3NetSegmentLib.engine.images.writing import write_image

posix = pytest.mark.skipif(os.name == "nt", reason="signals of another kind on Windows")


@pytest.fixture
def forked_workers(monkeypatch):
    """Of tests of what becomes of a worker, not of how a new one begins."""
    context = loaded_context()
    monkeypatch.setattr(multiprocessing, "get_context", lambda _: context)


def planned(folder, manifest):
    return make_plan(read_manifest(manifest, folder / "out"), folder / "out", resume=False)


def run_and_kill(folder, kills: dict[str, int], keep_going=True):
    """Runs a cohort of three; kills the worker each time that a case begins that has kills left."""
    plan, told = planned(folder, write_cohort(folder, 3)), []

    def on_event(event):
        told.append((event.kind, event.case.name))
        if event.kind == "started" and kills.get(event.case.name):
            kills[event.case.name] -= 1
            (worker,) = multiprocessing.active_children()
            os.kill(worker.pid, signal.SIGKILL)

    found = run_plan(plan, folder / "out", Processes(folder / "out", 1), keep_going=keep_going, on_event=on_event)
    assert not multiprocessing.active_children()
    return found, told


@posix
def test_a_case_whose_worker_was_killed_is_tried_once_more(tmp_path, forked_workers):
    found, told = run_and_kill(tmp_path, {"d1": 1})
    assert [found[f"d{n}"]["status"] for n in range(3)] == ["done"] * 3
    assert [found[f"d{n}"]["attempt"] for n in range(3)] == [1, 2, 1] and ("lost", "d1") in told


@posix
def test_a_case_that_kills_its_worker_twice_fails_alone(tmp_path, forked_workers):
    found, _ = run_and_kill(tmp_path, {"d1": 5})
    assert [found[f"d{n}"]["status"] for n in range(3)] == ["done", "failed", "done"]
    assert "SIGKILL" in found["d1"]["error"] and "2 times" in found["d1"]["error"]
    assert make_plan(planned(tmp_path, tmp_path / "cohort.csv").cases, tmp_path / "out", True).reasons == {
        "d1": "failed before"
    }


@pytest.mark.skipif(not os.path.isdir("/proc"), reason="memory can be bounded on Linux only")
def test_a_case_that_needs_more_memory_than_its_worker_has_fails_alone(tmp_path):
    write_disk(tmp_path / "small.png")
    write_image(Volume(np.zeros((300, 512, 1024), np.int16), np.eye(4), "huge"), tmp_path / "huge.nii.gz")
    (tmp_path / "m.csv").write_text("image\nhuge.nii.gz\nsmall.png\n")
    workers = Processes(tmp_path / "out", 1)
    workers.shares = [WorkerShare(1, memory_mb=240)]
    found = run_plan(planned(tmp_path, tmp_path / "m.csv"), tmp_path / "out", workers, keep_going=True)
    assert found["huge"]["status"] == "failed" and "memory" in found["huge"]["error"], found["huge"]["error"]
    assert found["small"]["status"] == "done", found["small"]["error"]


def test_processes_and_this_process_give_the_same_files(tmp_path):
    manifest = write_cohort(tmp_path, 2)
    for name, make in (("one", InThisProcess), ("two", lambda folder: Processes(folder, 2))):
        folder = tmp_path / name
        run_plan(make_plan(read_manifest(manifest, folder), folder, False), folder, make(folder))
    for name in ("d0.seg.nrrd", "d1.seg.nrrd", "d0_overlay.png"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_workers_share_cores_memory_and_cards(monkeypatch):
    monkeypatch.setattr(machine, "cores", lambda: 8)
    monkeypatch.setattr(machine, "available_memory_mb", lambda: 16_000)
    monkeypatch.setattr(machine, "nvidia_cards", lambda: ["0", "1"])
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert shares(4, "cpu") == [WorkerShare(2, 3600)] * 4
    assert [s.threads for s in shares(16, "cpu")] == [1] * 16
    assert [(s.card, s.card_share) for s in shares(3)] == [("0", 0.5), ("1", 1.0), ("0", 0.5)]
    assert {s.card for s in shares(2, "cuda:1")} == {None}  # the user has said which
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert shares(1, "cpu")[0].threads == 1


def test_the_cards_that_the_environment_hides_are_not_used(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2, 3")
    assert machine.nvidia_cards() == ["2", "3"]
    for hidden in ("", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
        assert machine.nvidia_cards() == []


def test_where_cases_name_their_card_every_worker_sees_all_and_takes_its_own_by_default(monkeypatch):
    monkeypatch.setattr(machine, "nvidia_cards", lambda: ["2", "5"])
    found = shares(3, "auto", all_cards=True)
    assert [(s.card, s.device, s.card_share) for s in found] == [
        (None, "cuda:0", 0.5), (None, "cuda:1", 1.0), (None, "cuda:0", 0.5)
    ]  # fmt: skip
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert [own_device(asked, found[1]) for asked in ("auto", "cuda", "cuda:0", "cpu")] == [
        "cuda:1",
        "cuda:1",
        "cuda:0",
        "cpu",
    ]
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert own_device("auto", found[1]) == "auto" and own_device("cuda", WorkerShare(1)) == "cuda"


def test_cards_without_device_files_are_asked_of_the_tool_of_their_driver(tmp_path, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(machine.Path, "glob", lambda self, pattern: iter(()))
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\nprintf '0\\n1\\n'\n")
    tool.chmod(0o755)
    monkeypatch.setattr(machine.shutil, "which", lambda name: str(tool))
    assert machine.nvidia_cards() == (["0", "1"] if os.name != "nt" else [])
    tool.write_text("#!/bin/sh\necho 'no devices were found'; exit 9\n")
    assert machine.nvidia_cards() == []
    monkeypatch.setattr(machine.shutil, "which", lambda name: None)
    assert machine.nvidia_cards() == []


def test_a_case_is_computed_on_the_device_that_its_row_names(tmp_path, forked_workers):
    write_disk(tmp_path / "d.png")
    (tmp_path / "m.csv").write_text(
        "image,output,settings,device\nd.png,here,work_size=64,cpu\nd.png,there,sources=s3net,cuda:7\n"
    )
    plan = planned(tmp_path, tmp_path / "m.csv")
    found = run_plan(plan, tmp_path / "out", Processes(tmp_path / "out", 1, all_cards=True), keep_going=True)
    assert found["here"]["status"] == "done" and found["here"]["device"] == "cpu"
    assert found["there"]["status"] == "failed" and "cuda" in found["there"]["error"]


def test_the_device_does_not_make_a_finished_case_unfinished(tmp_path):
    write_disk(tmp_path / "d.png")
    for line in ("d.png,work_size=64,\n", "d.png,work_size=64,cpu\n"):
        (tmp_path / "m.csv").write_text(f"image,settings,device\n{line}")
        plan = make_plan(read_manifest(tmp_path / "m.csv", tmp_path / "out"), tmp_path / "out", resume=True)
        run_plan(plan, tmp_path / "out", InThisProcess(tmp_path / "out", "cpu"))
    assert not plan.todo


@posix
def test_a_worker_that_is_killed_by_a_signal_without_a_name_is_told(tmp_path, forked_workers):
    plan, told = planned(tmp_path, write_cohort(tmp_path, 1)), []

    def on_event(event):
        told.append(event.kind)
        if event.kind == "started":
            (worker,) = multiprocessing.active_children()
            os.kill(worker.pid, signal.SIGRTMIN + 3)

    found = run_plan(plan, tmp_path / "out", Processes(tmp_path / "out", 1), keep_going=True, on_event=on_event)
    assert f"signal {signal.SIGRTMIN + 3}" in found["d0"]["error"] and told.count("lost") == 1
