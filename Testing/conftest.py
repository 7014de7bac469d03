"""Makes the module's package and the test helpers importable; begins with what takes long."""

import gc
import signal
import sys
import threading
from pathlib import Path

import pytest

TESTING = Path(__file__).resolve().parent
for folder in (TESTING, TESTING / "support", TESTING.parent / "S3NetSegment"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

# A shell starts what it runs in the background with Ctrl-C ignored, and what it starts inherits that. Tests of Ctrl-C need it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN and threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)

# What takes longest, by file. Where several processes share the tests these begin first, so that all end together.
LONGEST = (
    "app/test_reliability.py", "panel/models/test_training.py", "cli/train/test_train_commands.py", "cli/train/test_train_stopping.py", "engine/few_shot/test_several_patients.py",
    "engine/images/test_answers_disturbed.py", "engine/few_shot/test_propagation.py", "app/test_types.py", "engine/training/ideal/test_ideal_end_to_end.py",
    "engine/test_array_order.py", "cli/test_demo_command.py", "engine/cohort_loop/test_proposing.py", "engine/few_shot/voters/test_transfer.py",
    "cli/test_batch_command.py", "cli/train/test_train_3d.py", "engine/segment/test_carry.py", "cli/test_segment_command.py",
    "engine/cohort_loop/test_model.py", "cli/test_security.py", "engine/segment/test_segment.py", "engine/segment/test_s3net_fit.py",
    "engine/few_shot/test_method.py", "cli/test_launcher.py", "cli/few_shot/test_answers.py", "engine/training/trainer/test_training_processes.py",
    "engine/segment/test_volume_objects.py", "engine/batch/test_cluster.py", "engine/nets/test_dinov2.py", "engine/cohort_loop/test_kills.py",
    "engine/cohort_loop/test_disturbed_folders.py", "engine/segment/test_planes.py", "engine/segment/test_boxes.py", "app/test_newcomer.py",
    "cli/test_cohort_command.py", "panel/cohort/test_cohort.py", "panel/test_real_engine.py", "engine/few_shot/test_registration.py",
    "panel/test_random_walk.py", "app/test_package.py", "engine/training/trainer/test_training_trainer.py", "engine/few_shot/test_places.py",
    "engine/batch/test_workers.py", "panel/few_shot/test_real_engine.py",
)  # fmt: skip
# Files of which each test goes to a process of its own choice: they are long and share no fixture.
ALONE = ("app/test_reliability.py", "cli/train/test_train_stopping.py", "cli/test_security.py", "cli/test_launcher.py")


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """All that is imported and found stays: nobody looks for garbage in it, neither meanwhile nor later."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(config, items):
    if not hasattr(config, "workerinput"):  # in a process of xdist, which alone sees the order
        return
    places = {TESTING / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Tests of a file go to one process, since they share fixtures; those of the files ``ALONE`` to whichever is free."""
    if config.getvalue("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid):
            file = super()._split_scope(nodeid)
            return nodeid if file in ALONE else file

    return Scheduling(config, log)


@pytest.fixture(scope="module")
def one_thread():
    """torch computes in one thread while the tests of the file run."""
    from S3NetSegmentLib.engine.common.device import one_thread_if

    with one_thread_if(True):
        yield


@pytest.fixture
def few_places(monkeypatch):
    """Of the places that the search for a drawing of another volume tries only those that are neither turned nor resized, for
    volumes that lie alike but for what the refinement finds. The first tests of ``engine/few_shot/voters/test_transfer.py`` have the whole
    search."""
    from S3NetSegmentLib.engine.few_shot.registration import places

    monkeypatch.setattr(places, "_TURNS", (0.0,))
    monkeypatch.setattr(places, "_SIZES", (1.0,))
