"""Registration of neighbouring slices finds how the body moved."""

import multiprocessing
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from scipy import ndimage

from S3NetSegmentLib.engine.common.progress import run_to_end
from S3NetSegmentLib.engine.few_shot.registration.alignment import _executed
from S3NetSegmentLib.engine.few_shot.registration.neighbours import (
    blurred,
    carried,
    registering,
    registration_channels,
)
from S3NetSegmentLib.engine.few_shot.registration.picture import Picture, correlation, likeness, local_likeness


def registered(moving, fixed):
    return run_to_end(registering(moving, fixed))


def textured(height=48, width=64, seed=0):
    noise = np.random.default_rng(seed).normal(size=(height, width))
    smooth = ndimage.gaussian_filter(noise, 3)
    return torch.from_numpy(((smooth - smooth.min()) / np.ptp(smooth)).astype(np.float32))


def warped(image, rows, columns):
    """``image`` at (row + rows, column + columns) of each pixel."""
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    values = ndimage.map_coordinates(image.numpy(), (y + rows, x + columns), order=1, mode="nearest")
    return torch.from_numpy(values.astype(np.float32))


def found_pixels(moving, fixed):
    """The displacement (rows, columns) in pixels that is found between two slices."""
    channels = registration_channels(torch.stack((moving, fixed)))
    field = registered(channels[:1], channels[1:])
    height, width = moving.shape
    return field[0, ..., 1] * height / 2, field[0, ..., 0] * width / 2


def test_a_shift_of_three_pixels_is_recovered():
    image = textured()
    rows, columns = found_pixels(image, warped(image, 3.0, -2.0))
    inner = (slice(8, -8), slice(8, -8))
    assert abs(rows[inner].median() - 3.0) < 0.3 and abs(columns[inner].median() + 2.0) < 0.3


def test_a_smooth_warp_is_recovered_to_half_a_pixel():
    image = textured(seed=3)
    y, x = np.mgrid[:48, :64]
    rows, columns = 2.0 * np.sin(x / 12), 1.5 * np.cos(y / 10)
    found = found_pixels(image, warped(image, rows, columns))
    inner = (slice(6, -6), slice(6, -6))
    for mine, true in zip(found, (rows, columns), strict=True):
        assert np.abs(mine.numpy() - true)[inner].mean() < 0.5


def test_masks_are_carried_where_the_image_moved():
    image = textured(seed=5)
    mask = torch.zeros(48, 64)
    mask[18:30, 22:40] = 1
    moved = warped(image, -2.0, 3.0)
    channels = registration_channels(torch.stack((image, moved)))
    found = carried(mask[None, None], registered(channels[:1], channels[1:]))[0, 0] > 0.5
    expected = warped(mask, -2.0, 3.0) > 0.5
    assert 2 * (found & expected).sum() / (found.sum() + expected.sum()) > 0.93


def test_equal_slices_are_not_moved_and_a_batch_equals_its_single_pairs():
    a, b = textured(seed=1), textured(seed=2)
    channels = registration_channels(torch.stack((a, b, warped(b, 1.0, 1.0))))
    assert registered(channels[:1], channels[:1]).abs().max() < 1e-6
    both = registered(channels[:2], channels[1:])
    for n in range(2):
        assert torch.allclose(both[n : n + 1], registered(channels[n : n + 1], channels[n + 1 : n + 2]), atol=1e-5)


def test_slices_of_a_few_pixels_are_registered_too():
    small = torch.rand(2, 1, 3, 5, generator=torch.Generator().manual_seed(0))
    assert torch.isfinite(registered(small[:1], small[1:])).all()


def test_blur_keeps_the_sum_of_class_memberships():
    masks = torch.softmax(torch.randn(2, 4, 9, 11, generator=torch.Generator().manual_seed(1)), 1)
    assert torch.allclose(blurred(masks, 1.2).sum(1), torch.ones(2, 9, 11), atol=1e-5)


def test_the_window_answers_while_slices_are_registered():
    from S3NetSegmentLib.engine.few_shot.registration.neighbours import LEVELS

    channels = registration_channels(torch.rand(3, 40, 48, generator=torch.Generator().manual_seed(0)))
    steps, count = registering(channels[:2], channels[1:]), 0
    while True:
        try:
            next(steps)
        except StopIteration as end:
            found = end.value
            break
        count += 1
    assert count >= sum(iterations for _, iterations in LEVELS) / 10
    assert torch.equal(found, registered(channels[:2], channels[1:]))


class Slow:
    """Stands for a registration, which takes longer on a large volume than a test should."""

    def __init__(self, error=None, waits=False):
        self.error, self.ended, self.threads_seen, self.go_on = error, False, [], threading.Event()
        if not waits:
            self.go_on.set()

    def Execute(self, a, b):
        assert self.go_on.wait(600)
        for _ in range(6):
            time.sleep(0.05)
            self.threads_seen.append(itk_threads())
        self.ended = True
        if self.error is not None:
            raise self.error


def itk_threads():
    return sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()


@pytest.fixture
def several_itk_threads():
    """ITK computes with three threads here, whatever the machine has."""
    before = itk_threads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(3)
    yield
    assert itk_threads() == 3
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before)


def test_the_window_answers_while_itk_computes_and_a_cancelled_run_leaves_nothing_behind(several_itk_threads):
    before, slow, longer = set(threading.enumerate()), Slow(), Slow(waits=True)
    steps = _executed(longer, None, None)
    for _ in range(3):
        next(steps)
    longer.go_on.set()
    list(steps)
    assert longer.ended
    steps = _executed(slow, None, None)
    next(steps)
    steps.close()
    assert slow.ended
    assert set(threading.enumerate()) <= before  # what would still compute has ended before Cancel returns
    assert set(slow.threads_seen) == {1}  # the number comes back after it


def test_two_runs_whose_steps_alternate_both_compute_with_one_thread_of_itk(several_itk_threads):
    slow = Slow(), Slow()
    first, second = (_executed(one, None, None) for one in slow)
    next(first)
    next(second)
    list(first)
    list(second)
    assert set(slow[0].threads_seen) == set(slow[1].threads_seen) == {1}


@pytest.mark.parametrize("error", [ValueError("of itk"), MemoryError()], ids=type)
def test_what_goes_wrong_in_the_thread_is_raised_in_the_steps(error, several_itk_threads):
    with pytest.raises(type(error)):
        list(_executed(Slow(error), None, None))


_ALONE = """
import sys, threading, time
sys.path[:0] = {paths!r}
from test_registration import Slow
from S3NetSegmentLib.engine import run_to_end
from S3NetSegmentLib.engine.few_shot.registration.alignment import _executed
try:
    print("begins", flush=True)
    for _ in range(20):
        run_to_end(_executed(Slow(), None, None))
except KeyboardInterrupt:
    sys.exit(f"interrupted, {{threading.active_count()}} thread")
"""


def test_ctrl_c_on_the_command_line_ends_the_thread_too():
    places = [str(Path(__file__).parent), *sys.path]
    alone = subprocess.Popen(
        [sys.executable, "-c", _ALONE.format(paths=places)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert alone.stdout.readline() == "begins\n"
    time.sleep(0.4)
    alone.send_signal(signal.SIGINT)
    _, said = alone.communicate(timeout=20)
    assert alone.returncode == 1 and said.strip().endswith("interrupted, 1 thread")


def _in_a_worker(number: int) -> tuple[int, bool, int]:
    slow = Slow()
    list(_executed(slow, None, None))
    return number, slow.ended, threading.active_count()


def test_workers_of_a_batch_leave_no_thread_behind_either():
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        assert pool.map(_in_a_worker, [1, 2]) == [(1, True, 1), (2, True, 1)]


def test_a_neighbourhood_larger_than_the_images_is_all_of_them():
    rng = np.random.default_rng(4)
    a = rng.random((3, 8, 9)).astype(np.float32)
    b = a + rng.normal(0, 0.2, a.shape).astype(np.float32)
    inside = np.ones(a.shape, bool)
    whole = local_likeness(a, b, inside, (1e12,) * 3)  # voxels of a millionth of a millimetre
    assert np.ptp(whole) < 1e-4 and whole.mean() == pytest.approx(correlation(a, b), abs=0.03)
    assert np.allclose(whole, local_likeness(a, b, inside, (30.0,) * 3), atol=1e-4)


def test_a_tall_image_is_compared_with_the_few_slices_that_a_wide_one_shows_of_it():
    wide = ndimage.gaussian_filter(np.random.default_rng(0).standard_normal((40, 24, 24)), 1).astype(np.float32)
    tall = np.eye(4)
    tall[:3, 3] = 7
    few = np.eye(4)
    few[2, 3] = 18
    fixed, moving = Picture(wide[18:22], few), Picture(wide[7:37, 7:17, 7:17], tall)
    assert likeness(fixed, moving, np.eye(4)) > 0.999
    beside = np.eye(4)
    beside[0, 3] = -15  # two columns of ten are left
    assert likeness(fixed, moving, beside) == -1
