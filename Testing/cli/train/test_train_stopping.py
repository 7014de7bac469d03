"""How training ends early: what the folder says, the exit codes, and going on; also under torchrun."""

import argparse
import os
import signal
import subprocess
import sys
import time

import pytest
from cohort_files import write_cohort
from command_line import PATIENCE, SCRIPT, environment
from forked import Started, forked_ranks, run_module, run_script
from paths import REPOSITORY

from S3NetSegmentLib.cli.train import training
from S3NetSegmentLib.cli.train.training import mark_running
from S3NetSegmentLib.engine import Step
from S3NetSegmentLib.engine.tasks.train import FinetuneTask
from S3NetSegmentLib.engine.training.trainer.run_folder import RunFolder

posix = pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
QUICK = (
    "--preset", "tiny", "--set", "slice_side=48", "--set", "log_every=1", "--set", "batch=2", "--set", "unlabelled_batch=2",
)  # fmt: skip
# Keeps the exit code of each process of torchrun, which itself does not tell.
KEEP_CODE = """
import os, pathlib, signal, subprocess, sys
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda *_: None)
code = subprocess.call([sys.executable, *sys.argv[2:]])
pathlib.Path(sys.argv[1], "code" + os.environ["RANK"]).write_text(str(code))
sys.exit(code)
"""
KEEP_THREADS = str(REPOSITORY / "Testing" / "support" / "keep_threads.py")


def reading(folder, during=None, error=None):
    """A training that only ever reads images; ``during()`` is called in its third step."""

    def begin(task, run, device, processes, stop, resume):
        mark_running(run, "s3net finetune")
        for number in range(1000):
            if number == 3 and error is not None:
                raise error
            if number == 3:
                during()
            yield Step(0.0, "Reading slices")

    arguments = argparse.Namespace(
        output=folder, quiet=True, json=False, command="finetune", dry_run=False, resume=False
    )
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(training, "_begun", begin)
        return training.run_training(FinetuneTask("cohort", device="cpu"), arguments)


def test_a_stop_before_the_first_saved_state_ends_as_stopped(tmp_path, capsys):
    folder = RunFolder(tmp_path / "run")
    assert reading(folder.path, folder.ask_to_stop) == 130
    assert folder.read_status()["status"] == "stopped" and not folder.stop_is_asked and not folder.is_running()
    assert "stopped before training began" in capsys.readouterr().err


@posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_exit_code_names_the_signal(tmp_path, number):
    assert reading(tmp_path, lambda: signal.raise_signal(number)) == 128 + number


@posix
def test_a_second_ctrl_c_ends_at_once_and_the_folder_knows(tmp_path):
    def twice():
        for _ in range(2):  # each is handled before the next: two that wait at once count as one
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        reading(tmp_path, twice)
    assert RunFolder(tmp_path).read_status()["status"] == "stopped"


def test_a_failure_is_kept_with_its_cause(tmp_path):
    with pytest.raises(ValueError, match="no such"):
        reading(tmp_path, error=ValueError("no such\n thing"))
    status = RunFolder(tmp_path).read_status()
    assert (status["status"], status["message"]) == ("failed", "no such thing")


@posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_under_torchrun_is_stopped_with_the_code_of_the_signal_and_goes_on(tmp_path, number):
    cohort = write_cohort(tmp_path / "cohort", 2, 1)
    (tmp_path / "keep_code.py").write_text(KEEP_CODE)
    run = RunFolder(tmp_path / "run")
    launcher = [
        "torch.distributed.run", "--nproc-per-node=2", "--rdzv-backend=c10d",
        "--rdzv-endpoint=localhost:0", str(tmp_path / "keep_code.py"), str(tmp_path),
        KEEP_THREADS, str(tmp_path), SCRIPT,
    ]  # fmt: skip
    train = ["finetune", str(cohort), "-o", str(run.path), *QUICK, "--device", "cpu"]
    with Started(run_module, *launcher, *train, "--steps", "100000", variables=environment()) as process:
        until = time.monotonic() + PATIENCE
        while sum("loss" in e for e in run.entries()) < 3:
            assert process.poll() is None and time.monotonic() < until, process.communicate(PATIENCE)[1]
            time.sleep(0.1)
        process.send_signal(number)
        _, err = process.communicate(timeout=PATIENCE)
    assert [(tmp_path / f"code{rank}").read_text() for rank in (0, 1)] == [str(128 + number)] * 2, err
    # A thread of Gloo that outlives the group aborts the process where it meets the end of Python. On a busy machine one of the two can
    # meet the signal when the other has left already; it ends at once then, without that end, as a process that fails does.
    kept = [file.read_text() for rank in (0, 1) if (file := tmp_path / f"threads{rank}").exists()]
    assert kept and not any(kept)
    assert run.read_status()["status"] == "stopped" and "go on with --resume" in err
    step = run.read_state()["step"]
    assert step >= 3
    if number == signal.SIGINT:  # going on is the same after both
        return
    forked_ranks(run_script, SCRIPT, *train, "--resume", "--steps", str(step + 2))
    assert run.read_status()["status"] == "finished" and run.read_state()["step"] == step + 2
    assert [e["step"] for e in run.entries() if "loss" in e] == list(range(1, step + 3))


def test_a_process_of_torchrun_that_fails_ends_at_once_with_its_message(tmp_path):
    command = [KEEP_THREADS, str(tmp_path), SCRIPT, "finetune", str(tmp_path / "none")]
    of_torchrun = {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "localhost", "MASTER_PORT": "0"}
    done = subprocess.run(
        [sys.executable, *command, "-o", str(tmp_path / "run"), "--device", "cpu"], env=environment(**of_torchrun),
        capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert done.returncode == 2 and done.stderr.count("s3net: error:") == 1, done.stderr
    # Python's tidy end, with its atexit, did not come: another process may be in an exchange with this one
    assert not (tmp_path / "threads0").exists()
