"""``s3net batch`` as a process: what it writes and says, and what it survives."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from html.parser import HTMLParser

import numpy as np
import pytest
from batch_cases import QUICK, QUICK_FEW_SHOT, write_cohort, write_disk, write_drawn_ball, write_manifest
from command_line import PATIENCE, SCRIPT, environment, s3net, start

from S3NetSegmentLib.cli.main import launch
from S3NetSegmentLib.engine.images.writing import write_png

posix = pytest.mark.skipif(os.name == "nt", reason="signals of another kind on Windows")
SLOW = "sources=s3net; fit_size=256; steps=1000"  # a case that a test never waits for


def succeeded(done):
    assert done.returncode == 0, done.stderr
    return done


def results(folder):
    return sorted(p.name for p in folder.glob("*.seg.nrrd"))


def report(folder):
    """The rows of the three reports, checked against each other, by case."""
    rows = json.loads((folder / "report.json").read_text())["cases"]
    with open(folder / "report.csv", newline="", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    assert [(r["name"], r["status"]) for r in rows] == [(r["name"], r["status"]) for r in table]
    page = (folder / "report.html").read_text()
    assert page.count("<tr ") == len(rows) and page.rstrip().endswith("</html>")
    return {row["name"]: row for row in rows}


def nothing_half_made(folder):
    return not [p for p in folder.rglob("*") if p.name.startswith((".s3net", ".")) and p.name != ".lock"]


def test_a_cohort_is_segmented_and_reported_and_resume_does_nothing_more(tmp_path):
    write_cohort(tmp_path, 3)
    done = succeeded(s3net("batch", "cohort.csv", "-o", "out", folder=tmp_path))
    assert results(tmp_path / "out") == ["d0.seg.nrrd", "d1.seg.nrrd", "d2.seg.nrrd"]
    assert "3 done" in done.stdout and "wrote out/report.html" in done.stdout
    assert "1 process, each with 1 thread, at most" in done.stderr and "MB of memory" in done.stderr
    assert done.stderr.count("confidence") == 3
    rows = report(tmp_path / "out")
    assert all(r["status"] == "done" and r["voxels"] > 200 and r["seconds"] > 0 for r in rows.values())
    again = succeeded(s3net("batch", "cohort.csv", "-o", "out", "--resume", "--json", folder=tmp_path))
    facts = json.loads(again.stdout)
    assert facts["counts"] == {"done": 3, "failed": 0, "waiting": 0}
    assert (facts["computed"], facts["skipped"]) == (0, 3) and facts["cases"][0]["segments"][0]["name"] == "Object"


def test_notes_of_the_cases_reach_stderr_once_each_and_the_report(tmp_path):
    halves = np.where(np.arange(48) < 24, 10, 200).astype(np.uint8).reshape(1, 48).repeat(40, 0)
    for name in ("a", "b"):
        write_png(halves, tmp_path / f"{name}.png")
    (tmp_path / "m.csv").write_text("image,regions,regions_only\na.png,8,true\nb.png,8,true\n")
    done = succeeded(s3net("batch", "m.csv", "-o", "out", "--quiet", folder=tmp_path))
    lines = done.stderr.splitlines()
    assert lines and all(line.startswith("s3net: note: ") for line in lines) and done.stdout == ""
    (few,) = [line for line in lines if "regions can be told apart" in line]
    assert few.startswith("s3net: note: a, b (2 cases): only ")
    rows = report(tmp_path / "out")
    assert all("regions can be told apart" in row["notes"] and "empty" not in row["why"] for row in rows.values())
    assert all("Region 1" in row["segments"] and "pixels" in row["segments"] for row in rows.values())
    assert " 0 pixels" not in (tmp_path / "out" / "report.html").read_text()
    again = succeeded(s3net("batch", "m.csv", "-o", "out", "--resume", "--quiet", folder=tmp_path))
    assert again.stderr == ""  # told when it was done


def test_all_methods_in_one_manifest_with_two_processes(tmp_path):
    write_drawn_ball(tmp_path)
    extra = f'ball.nii.gz,few-shot,,"{QUICK_FEW_SHOT}",drawn.seg.nrrd\n'
    write_disk(tmp_path / "a.png")
    (tmp_path / "m.csv").write_text(f'image,method,pixels,settings,support\na.png,segment,"28,24",,\n{extra}')
    done = succeeded(s3net("batch", "m.csv", "-o", "out", "--jobs", "2", "--device", "cpu", folder=tmp_path))
    assert "2 processes" in done.stderr
    rows = report(tmp_path / "out")
    assert rows["ball"]["method"] == "few-shot" and rows["ball"]["segments"].startswith("Ball ")
    assert results(tmp_path / "out") == ["a.seg.nrrd", "ball.seg.nrrd"]


def test_a_dry_run_prints_the_plan_and_writes_nothing(tmp_path, monkeypatch, capsys):
    write_cohort(tmp_path, 2)
    monkeypatch.chdir(tmp_path)
    assert launch(SCRIPT, ["batch", "cohort.csv", "-o", "out", "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("row 2: segment in/d0.png -> d0.seg.nrrd (asked for, about ") and "2 to do" in lines[-1]
    assert lines[0].endswith(" MB)") and lines[2].startswith("the largest case may need ")
    assert not (tmp_path / "out").exists()
    launch(SCRIPT, ["batch", "cohort.csv", "-o", "out", "--dry-run", "--json"])
    plan = json.loads(capsys.readouterr().out)
    assert plan["cases"][0]["memory_mb"] > 100
    assert plan["to_do"] == 2 and plan["cases"][1]["outputs"]["overlay"] == "d1_overlay.png"


def test_a_wrong_manifest_is_refused_with_all_that_is_wrong_and_code_2(tmp_path):
    write_cohort(tmp_path, 1)
    write_manifest(tmp_path / "m.csv", ["in/d0.png", "in/gone.png"], "in/d0.png,segmnt,,")
    done = s3net("batch", "m.csv", "-o", "out", folder=tmp_path)
    assert done.returncode == 2 and not (tmp_path / "out").exists()
    lines = done.stderr.splitlines()
    assert len(lines) == 2 and "row 3: image:" in lines[0] and "row 4: method:" in lines[1]
    assert all(line.startswith("s3net: error: ") for line in lines)


@pytest.fixture(autouse=True)
def signals():
    """``launch`` in this process leaves no handlers behind."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "MANIFEST is missing"),
        (["cohort.csv"], "-o DIR is missing"),
        (["cohort.csv", "-o", "out", "--jobs", "0"], "'0'"),
        (["cohort.csv", "-o", "out", "--jobs", "2", "--scheduler", "tcp://x:1"], "--jobs"),
        (["cohort.csv", "-o", "out", "--default", "regions"], "COLUMN=VALUE"),
        (["cohort.csv", "-o", "out", "--default", "region=3"], "'regions'"),
        (["cohort.csv", "-o", "cohort.csv"], "is a file"),
        (["gone.csv", "-o", "out"], "gone.csv"),
        (["cohort.csv", "-o", "out", "--pattern", "*.png"], "is a file"),
        (["in", "-o", "out", "--pattern", "../*"], "inside the folder"),
    ],
)
def test_wrong_arguments_end_with_code_2_and_the_remedy(tmp_path, monkeypatch, capsys, arguments, told):
    write_cohort(tmp_path, 1)
    monkeypatch.chdir(tmp_path)
    assert launch(SCRIPT, ["batch", *arguments]) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_columns_are_listed(capsys):
    assert launch(SCRIPT, ["batch", "--columns"]) == 0
    told = capsys.readouterr().out
    assert "support_image" in told and "(segment)" in told


def test_a_damaged_file_fails_its_case_and_keep_going_does_the_others(tmp_path):
    manifest = write_cohort(tmp_path, 3)
    (tmp_path / "in" / "d0.png").write_bytes(b"\x89PNG\r\n\x1a\n nothing")
    done = s3net("batch", manifest, "-o", "out", "--keep-going", folder=tmp_path)
    assert done.returncode == 1 and results(tmp_path / "out") == ["d1.seg.nrrd", "d2.seg.nrrd"]
    assert "failed: row 2, d0:" in done.stdout and "Traceback" not in done.stderr
    rows = json.loads((tmp_path / "out" / "report.json").read_text())["cases"]
    assert rows[0]["name"] == "d0" and rows[0]["why"] == "failed" and "d0.png" in rows[0]["error"]
    write_disk(tmp_path / "in" / "d0.png")
    facts = json.loads(s3net("batch", manifest, "-o", "out", "--resume", "--json", folder=tmp_path).stdout)
    assert facts["computed"] == 1 and facts["counts"]["done"] == 3


def test_without_keep_going_no_case_is_begun_after_a_failure(tmp_path):
    manifest = write_cohort(tmp_path, 3)
    (tmp_path / "in" / "d0.png").write_bytes(b"")
    done = s3net("batch", manifest, "-o", "out", folder=tmp_path)
    assert done.returncode == 1 and results(tmp_path / "out") == []
    assert {r["status"] for r in report(tmp_path / "out").values()} == {"failed", "waiting"}


# -- stopping


def slow_cohort(folder, count=3):
    """A cohort whose first case is quick and whose others take long."""
    manifest = write_cohort(folder, count)
    lines = manifest.read_text().splitlines()
    lines[2:] = [line.replace("work_size=64", SLOW) for line in lines[2:]]
    manifest.write_text("\n".join(lines) + "\n")


def until_first_is_done(process):
    for line in process.stderr:
        if "[1/" in line:
            return  # the second case is being done
    raise AssertionError("no case was finished")


def workers_of(process):
    """Process ids of the workers of a batch."""
    found = subprocess.run(
        ["ps", "-ww", "-o", "pid=,args=", "--ppid", str(process.pid)], capture_output=True, text=True, check=False
    )
    return [int(line.split()[0]) for line in found.stdout.splitlines() if "spawn_main" in line]


def is_running(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def all_end(pids, seconds=PATIENCE):
    until = time.monotonic() + seconds
    while any(map(is_running, pids)) and time.monotonic() < until:
        time.sleep(0.1)
    return not any(map(is_running, pids))


@posix
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_batch_keeps_what_is_finished_and_leaves_no_process(tmp_path, number, code):
    slow_cohort(tmp_path)
    with start("batch", "cohort.csv", "-o", "out", folder=tmp_path) as process:
        until_first_is_done(process)
        workers = workers_of(process)
        process.send_signal(number)
        _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == code, err
    assert "stopped" in err and "Traceback" not in err
    assert workers and all_end(workers)
    assert results(tmp_path / "out") == ["d0.seg.nrrd"] and nothing_half_made(tmp_path / "out")
    rows = report(tmp_path / "out")
    assert [rows[f"d{n}"]["status"] for n in range(3)] == ["done", "waiting", "waiting"]


@posix
def test_a_killed_batch_goes_on_with_resume_and_its_workers_end(tmp_path):
    slow_cohort(tmp_path)
    with start("batch", "cohort.csv", "-o", "out", folder=tmp_path) as process:
        until_first_is_done(process)
        workers = workers_of(process)
        process.kill()
        process.communicate(timeout=PATIENCE)
    assert workers and all_end(workers)
    first = (tmp_path / "out" / "d0.seg.nrrd").stat()
    (tmp_path / "out" / ".s3net-left").mkdir()  # what a worker in the middle of writing leaves
    succeeded(s3net("batch", "cohort.csv", "-o", "out", "--report-only", folder=tmp_path))
    assert report(tmp_path / "out")["d0"]["status"] == "done"
    write_cohort(tmp_path, 3)  # the same first case; the others are quick now
    facts = json.loads(
        succeeded(s3net("batch", "cohort.csv", "-o", "out", "--resume", "--json", folder=tmp_path)).stdout
    )
    assert (facts["computed"], facts["skipped"], facts["counts"]["done"]) == (2, 1, 3)
    assert (tmp_path / "out" / "d0.seg.nrrd").stat().st_mtime_ns == first.st_mtime_ns
    assert nothing_half_made(tmp_path / "out")


@posix
def test_two_batches_never_write_into_one_folder(tmp_path):
    slow_cohort(tmp_path)
    with start("batch", "cohort.csv", "-o", "out", folder=tmp_path) as process:
        until_first_is_done(process)
        done = s3net("batch", "cohort.csv", "-o", "out", "--resume", folder=tmp_path)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENCE)
    assert done.returncode == 2 and "another batch is writing" in done.stderr


# -- disks


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 200 kB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(disk)]
    if os.name == "nt" or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small disk cannot be mounted here (needs root)")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@posix
def test_a_read_only_folder_is_refused_before_the_work(tmp_path, request):
    write_cohort(tmp_path, 1)
    out = tmp_path / "out"
    if os.geteuid() == 0:  # root may write everywhere but on a read-only disk
        out = request.getfixturevalue("small_disk")
        subprocess.run(["mount", "-o", "remount,ro", str(out)], check=True)
    else:
        out.mkdir(mode=0o555)
    done = s3net("batch", "cohort.csv", "-o", out, folder=tmp_path)
    assert done.returncode == 2 and str(out) in done.stderr and "[1/" not in done.stderr, done.stderr


def test_a_folder_that_cannot_be_made_is_refused_before_the_work(tmp_path):
    write_cohort(tmp_path, 1)
    (tmp_path / "file").write_text("x")
    done = s3net("batch", "cohort.csv", "-o", "file/out", folder=tmp_path)
    assert done.returncode == 2 and "Traceback" not in done.stderr and "[1/" not in done.stderr


def test_a_disk_that_becomes_full_keeps_what_is_whole_and_resume_goes_on(tmp_path, small_disk):
    write_cohort(tmp_path, 4)
    done = s3net("batch", "cohort.csv", "-o", small_disk / "out", "--keep-going", folder=tmp_path)
    assert done.returncode == 1 and "Traceback" not in done.stderr and "space" in done.stderr
    whole = results(small_disk / "out")
    assert 1 <= len(whole) < 4 and nothing_half_made(small_disk / "out")
    subprocess.run(["mount", "-o", "remount,size=4m", str(small_disk)], check=True)
    again = s3net("batch", "cohort.csv", "-o", small_disk / "out", "--resume", "--json", folder=tmp_path)
    facts = json.loads(succeeded(again).stdout)
    assert facts["counts"]["done"] == 4 and facts["skipped"] <= len(whole)


@posix
def test_a_full_disk_fails_cases_cleanly_and_resume_finishes_them(tmp_path):
    write_cohort(tmp_path, 2)
    # A limit on file size acts like a full disk: the pictures and results are larger, the records are not.
    limited = f"ulimit -f 2; exec {sys.executable} {SCRIPT} batch cohort.csv -o out --keep-going"
    variables = environment(PYTHONDONTWRITEBYTECODE="1")
    done = subprocess.run(
        ["bash", "-c", limited], cwd=tmp_path, env=variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr and results(tmp_path / "out") == [] and nothing_half_made(tmp_path / "out")
    facts = json.loads(
        succeeded(s3net("batch", "cohort.csv", "-o", "out", "--resume", "--json", folder=tmp_path)).stdout
    )
    assert facts["counts"]["done"] == 2


# -- the page


class Page(HTMLParser):
    """Tags and their attributes, and the text between them."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.texts.append(data)


def test_the_page_loads_nothing_and_runs_nothing_that_names_of_files_say(tmp_path):
    name = "<script>alert(1)<&'\" x onerror=a"
    try:
        write_disk(tmp_path / "in" / f"{name}.png")
    except OSError:
        pytest.skip("this file system does not allow such names")
    cases = [
        {"image": f"in/{name}.png", "output": "a", "settings": QUICK},
        {"image": f"in/{name}.png", "output": "b", "pixels": "1,1,99"},
    ]
    (tmp_path / "m.json").write_text(json.dumps(cases))
    assert s3net("batch", "m.json", "-o", "out", "--keep-going", folder=tmp_path).returncode == 1
    page = Page((tmp_path / "out" / "report.html").read_text())
    assert sum(tag == "script" for tag, _ in page.tags) == 1 and any(name in text for text in page.texts)
    addresses = [a[key] for _, a in page.tags for key in ("src", "href") if key in a]
    assert addresses and all(a.startswith(("data:image/png;base64,", "./")) for a in addresses)
    assert not [a for _, a in page.tags if any(key.startswith("on") for key in a)]
    policy = next(a["content"] for tag, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy and "unsafe" not in policy


def test_a_spreadsheet_runs_no_formula_of_a_name(tmp_path):
    write_disk(tmp_path / "in" / "d.png")
    (tmp_path / "m.csv").write_text(f"image,output,settings\nin/d.png,=cmd(),{QUICK}\n")
    succeeded(s3net("batch", "m.csv", "-o", "out", folder=tmp_path))
    assert ",'=cmd()," in (tmp_path / "out" / "report.csv").read_text()
