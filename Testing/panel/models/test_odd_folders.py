"""Folders of a training that are none, or odd: what the tab Models says of them, and that no button raises."""

import json
import re

import pytest

pytest.importorskip("torch")

from phantoms import write_phantom_cohort

from S3NetSegmentLib.engine import InputError, run_to_end
from S3NetSegmentLib.engine.training.cohort.folder import read_cohort
from S3NetSegmentLib.panel.models.training_process import TrainingLog, as_in_panel

pytestmark = pytest.mark.usefixtures("this_python")
STEPS = "slice_side=48 batch=2 unlabelled_batch=2 steps=2 log_every=1"


def cohort_at(folder):
    folder.mkdir()
    write_phantom_cohort(folder, 2, 1, shape=(3, 48, 48))
    return folder


@pytest.fixture
def trained(open_training_on):
    """Asks for a training on a cohort, waits for its end, and gives what the panel says of it."""

    def train(cohort, run_folder):
        panel = open_training_on(cohort, run_folder, STEPS)
        panel.click(panel.panel.models.ui.startTrainingButton)
        panel.wait(lambda: not panel.panel.models.training.run.is_busy, 120)
        return f"{panel.message} {panel.panel.models.ui.trainingStateText.text}"

    return train


def broken(folder, name, content=None):
    if content is None:
        (folder / name).mkdir()
    else:
        (folder / name).write_bytes(content)


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("cohort.json", b"{", "cohort.json' is not readable JSON"), ("cohort.json", None, "cohort.json' is not readable JSON"),
        ("images/x.nii.gz", b"junk", "case 'x': "), ("images/x.nii.gz", b"", "is empty (0 bytes); copy or export it again"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_training_folder_is_told_without_options_of_the_command_line(
    trained, tmp_path, name, content, told
):
    broken(cohort_at(tmp_path / "c"), name, content)
    said = trained(tmp_path / "c", tmp_path / "run")
    assert told in said and "--" not in said


@pytest.mark.parametrize("name", ["Björns Daten 脑 (1)", "-data"])
def test_names_of_folders_do_not_matter(trained, tmp_path, name):
    said = trained(cohort_at(tmp_path / name), tmp_path / f"{name} run")
    assert "Finished: 2 steps" in said


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda folder: (folder / "run").write_bytes(b"a file"), "cannot be made"),
        (lambda folder: (folder / "run" / "log.jsonl").mkdir(parents=True), "Failed: .*Is a directory"),
        (lambda folder: cohort_at(folder / "run") and broken(folder / "run", "state.pt", b"junk"), "Begin anew in another folder"),
    ],
    ids=["file", "folders", "state"],
)  # fmt: skip
def test_a_run_folder_that_is_none_is_told(trained, tmp_path, make, told):
    make(tmp_path)
    said = trained(cohort_at(tmp_path / "c"), tmp_path / "run")
    assert re.search(told, said) and "--" not in said


def test_a_folder_of_labels_that_is_a_file_is_refused(tmp_path):
    folder = cohort_at(tmp_path / "c")
    (folder / "labels").rename(tmp_path / "away")
    (folder / "labels").write_bytes(b"a file")
    with pytest.raises(InputError, match="labels' is no folder; rename it"):
        run_to_end(read_cohort(folder))


def test_a_log_that_others_wrote_is_read_as_far_as_it_goes(tmp_path):
    entries = [{"step": None, "loss": 1.0}, {"step": 1, "loss": 1.0, "progress": "x"}, [], {"step": 2, "loss": 0.5}, 7]
    (tmp_path / "log.jsonl").write_text("no json\n" + "".join(f"{json.dumps(entry)}\n" for entry in entries))
    log = TrainingLog(tmp_path / "log.jsonl")
    assert log.read() and log.losses[-1] == (2, 0.5)
    (tmp_path / "folder").mkdir()
    assert not TrainingLog(tmp_path / "folder").read()


def test_no_option_of_the_command_line_is_advised_in_the_panel():
    said = "--output '/c/images' lies among the images of the cohort; choose another folder ('s3net finetune --help' explains)"
    assert (
        as_in_panel(said)
        == "the folder for the run, '/c/images' lies among the images of the cohort; choose another folder"
    )
    assert as_in_panel("stopped at step 3; go on with --resume") == "stopped at step 3; resume it to go on"
