"""Batches on a dask cluster: the same results as here, a lost worker costs nothing, and a clear word where dask is missing."""

import os
import signal
import sys
import time

import pytest
from batch_cases import write_cohort, write_disk
from forked import PATIENCE

from S3NetSegmentLib.engine import InputError, ResourceError
from S3NetSegmentLib.engine.batch.cluster import PACKAGES, Cluster
from S3NetSegmentLib.engine.batch.manifest import read_manifest
from S3NetSegmentLib.engine.batch.resume import make_plan
from S3NetSegmentLib.engine.batch.run import run_plan
from S3NetSegmentLib.engine.batch.workers import InThisProcess


@pytest.fixture(scope="module")
def cluster():
    """A cluster of two processes on this machine; the test that kills one is the last one."""
    distributed = pytest.importorskip(
        "distributed", reason="dask.distributed is not installed (pip install distributed)"
    )
    import dask

    from S3NetSegmentLib.engine.batch import cluster as product

    own = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": None, "memory_limit": 0}
    patient = {f"distributed.comm.timeouts.{name}": f"{PATIENCE}s" for name in ("connect", "tcp")}
    with pytest.MonkeyPatch.context() as patch, dask.config.set(patient):
        patch.setattr(product, "_CONNECTING", PATIENCE)
        with distributed.LocalCluster(**own, silence_logs=50) as cluster:
            yield cluster


def test_a_failed_case_on_a_cluster_is_recorded_and_stops_the_others_on_request(tmp_path, cluster):
    manifest = write_cohort(tmp_path, 3)
    (tmp_path / "in" / "d0.png").write_bytes(b"\x89PNG\r\n\x1a\n nothing")
    plan = make_plan(read_manifest(manifest, tmp_path / "out"), tmp_path / "out", False)
    found = run_plan(plan, tmp_path / "out", Cluster(tmp_path / "out", cluster.scheduler_address), keep_going=True)
    assert [found[f"d{n}"]["status"] for n in range(3)] == ["failed", "done", "done"]
    write_disk(tmp_path / "in" / "d0.png")
    again = make_plan(plan.cases, tmp_path / "out", resume=True)
    assert [case.name for case in again.todo] == ["d0"]


def test_after_an_interruption_a_worker_that_still_computes_writes_nothing(tmp_path, cluster):
    distributed = pytest.importorskip("distributed")
    manifest, out, go = write_cohort(tmp_path, 4), tmp_path / "out", tmp_path / "go"
    plan = make_plan(read_manifest(manifest, out), out, False)

    def interrupt(event):
        if event.kind == "finished":
            until_workers(client, busy=True)
            raise KeyboardInterrupt

    with distributed.Client(cluster.scheduler_address, set_as_default=False) as client:
        client.run(_hold, str(PACKAGES), str(go))
        with pytest.raises(KeyboardInterrupt):
            run_plan(plan, out, Cluster(out, cluster.scheduler_address, "cpu"), on_event=interrupt)
        kept = sorted(path.name for path in out.rglob("*.seg.nrrd"))
        go.touch()
        until_workers(client, busy=False)
        client.run(_let_go)
    assert sorted(path.name for path in out.rglob("*.seg.nrrd")) == kept == ["d0.seg.nrrd"]
    assert sorted(path.name for path in (out / "records").glob("*.json")) == ["d0.json"]


def until_workers(client, busy):
    """Waits until a worker does a case, or until none does."""
    until = time.monotonic() + PATIENCE
    while any(client.run(_is_computing).values()) != busy:
        assert time.monotonic() < until
        time.sleep(0.1)


def _hold(packages, go):
    """On a worker: all cases but the first one begin to compute when the file ``go`` exists."""
    sys.path.insert(0, packages)
    from S3NetSegmentLib.engine.batch import one_case

    real = one_case.input_facts

    def held(case, *more):
        while case.name != "d0" and not os.path.exists(go):
            time.sleep(0.01)
        return real(case, *more)

    one_case.input_facts, one_case.not_held = held, real


def _let_go():
    module = sys.modules["S3NetSegmentLib.engine.batch.one_case"]
    module.input_facts = module.not_held


def _is_computing():
    """On a worker: whether a case is being done there."""
    module = sys.modules.get("S3NetSegmentLib.engine.batch.one_case")
    return module is not None and module._ONE_AT_A_TIME.locked()


def test_a_cluster_that_loses_a_worker_gives_the_same_files_as_this_machine(tmp_path, cluster):
    manifest = write_cohort(tmp_path, 4)
    here, there = tmp_path / "here", tmp_path / "there"
    run_plan(make_plan(read_manifest(manifest, here), here, False), here, InThisProcess(here, "cpu"))
    workers = Cluster(there, cluster.scheduler_address, "cpu")
    assert "2 workers at tcp://" in workers.describe()
    pids = [nanny.process.process.pid for nanny in cluster.workers.values()]
    finished = []

    def on_event(event):
        finished.append(event.kind)
        if len(finished) == 1:
            os.kill(pids[0], signal.SIGKILL)

    plan = make_plan(read_manifest(manifest, there), there, False)
    found = run_plan(plan, there, workers, on_event=on_event)
    assert {name: record["status"] for name, record in found.items()} == {f"d{n}": "done" for n in range(4)}
    for n in range(4):
        assert (here / f"d{n}.seg.nrrd").read_bytes() == (there / f"d{n}.seg.nrrd").read_bytes()
    assert not make_plan(plan.cases, there, resume=True).todo


def test_without_dask_the_message_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(InputError, match="pip install"):
        Cluster(tmp_path, "tcp://127.0.0.1:1")


def test_a_scheduler_that_does_not_answer_is_an_error_with_its_address(tmp_path, monkeypatch):
    pytest.importorskip("distributed", reason="dask.distributed is not installed (pip install distributed)")
    from S3NetSegmentLib.engine.batch import cluster

    monkeypatch.setattr(cluster, "_CONNECTING", 1)
    with pytest.raises(ResourceError, match=r"tcp://127\.0\.0\.1:1"):
        Cluster(tmp_path, "tcp://127.0.0.1:1")
    with pytest.raises(InputError, match="not an address"):
        Cluster(tmp_path, "what://ever")
