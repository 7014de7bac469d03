"""Few-shot as a whole: what it keeps, what it refuses, and that it can be stopped and repeated."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from few_shot_phantoms import dice, organs

from S3NetSegmentLib.engine import InputError, Volume, run_to_end
from S3NetSegmentLib.engine.few_shot.method import DrawnPlane, DrawnSlice, FewShot, FewShotSettings
from S3NetSegmentLib.engine.few_shot.voters.appearance import OneCycleAdamW

QUICK = FewShotSettings(appearance_steps=60)
DRAWN = (7, 12)


@pytest.fixture(scope="module")
def phantom():
    return organs(size=(36, 34, 16), spacing=(1.6, 1.6, 3.5))


def drawn_on(labels, *numbers, axis="z", complete=True):
    planes = np.moveaxis(labels, "zyx".index(axis), 0)
    return [DrawnSlice(axis, n, planes[n], complete) for n in numbers]


def answer_of(volume, items, slices=None, quick=False, axis="auto"):
    tool = FewShot(volume, QUICK, axis)
    tool.set_support(items)
    return run_to_end(tool.propagate(slices, quick))


# ---- what it gives ----


def test_two_drawn_slices_give_the_organs_and_stay_as_they_were_drawn(phantom):
    volume, labels = phantom
    answer = answer_of(volume, drawn_on(labels, *DRAWN))
    assert min(dice(answer.labels, labels, c) for c in (1, 2)) > 0.85
    assert all(np.array_equal(answer.labels[z], labels[z]) for z in DRAWN)
    assert answer.axis == "z" and not {z for z, _ in answer.next_slices} & set(DRAWN)
    assert ((answer.confidence >= 0) & (answer.confidence <= 1)).all()
    assert set(answer.expected_dice) == {1, 2} and all(0 < d <= 1 for d in answer.expected_dice.values())


def test_a_label_map_in_the_place_of_the_image_is_noticed(phantom):
    volume, labels = phantom
    swapped = Volume(labels, volume.ijk_to_ras, "labels")
    told = "image 'labels' holds only 3 different values, as label maps do; if it is one, give the image itself"
    assert told in answer_of(swapped, drawn_on(labels, *DRAWN)).notes
    assert not answer_of(volume, drawn_on(labels, *DRAWN), (9, 9), quick=True).notes


def test_a_slice_drawn_empty_stays_empty(phantom):
    volume, labels = phantom
    answer = answer_of(volume, [*drawn_on(labels, 7), DrawnSlice("z", 10, np.zeros_like(labels[0]))])
    assert not answer.labels[10].any() and answer.labels[8].any()


def test_the_quick_answer_fills_the_asked_slice_only(phantom):
    volume, labels = phantom
    answer = answer_of(volume, drawn_on(labels, *DRAWN), (9, 9), quick=True)
    assert dice(answer.labels[9], labels[9], 1) > 0.8
    undrawn = [z for z in range(16) if z not in (9, *DRAWN)]
    assert not answer.labels[undrawn].any()


def test_slices_drawn_across_another_axis_are_used_and_kept(phantom):
    volume, labels = phantom
    answer = answer_of(volume, drawn_on(labels, 12, 24, axis="x"), axis="z")
    assert answer.axis == "z" and dice(answer.labels, labels, 1) > 0.6
    assert np.array_equal(answer.labels[:, :, 12], labels[:, :, 12])


@pytest.mark.parametrize("degrees", [0.0, 25.0])
def test_a_drawing_on_an_oblique_plane_is_kept_where_the_plane_passes(phantom, degrees):
    volume, labels = phantom
    angle, matrix = np.deg2rad(degrees), np.eye(4)
    matrix[:3, 1], matrix[:3, 2] = (0, np.cos(angle), np.sin(angle)), (0, -np.sin(angle), np.cos(angle))
    matrix[:3, 3] = np.array((0, 16.5 * 1.6, 7 * 3.5)) - 40 * matrix[:3, 1]
    rows, columns = np.mgrid[0:81, 0:58]
    place = matrix[:3, 3:] + matrix[:3, :2] @ np.stack((columns.ravel(), rows.ravel()))
    ijk = np.rint(place / np.array(volume.spacing)[:, None]).astype(int)
    inside = ((ijk >= 0) & (ijk < np.array(volume.size)[:, None])).all(0)
    plane = np.zeros(rows.size, np.uint8)
    plane[inside] = labels[tuple(ijk[::-1, inside])]
    answer = answer_of(volume, [DrawnPlane(plane.reshape(rows.shape), matrix)])
    assert min(dice(answer.labels, labels, c) for c in (1, 2)) > 0.6
    middle = ijk[:, inside][:, (place[1, inside] > 26) & (place[1, inside] < 27)]
    assert np.array_equal(answer.labels[tuple(middle[::-1])], labels[tuple(middle[::-1])])


# ---- odd drawings ----


def test_a_segment_of_one_pixel_is_carried_without_an_error(phantom):
    volume, labels = phantom
    plane = np.zeros_like(labels[0])
    plane[17, 11] = 3
    answer = answer_of(volume, [DrawnSlice("z", 8, plane)])
    assert answer.labels[8, 17, 11] == 3 and np.count_nonzero(answer.labels[8]) == 1
    assert np.isfinite(answer.confidence).all()


def test_a_segment_that_fills_the_slice_is_carried_without_an_error(phantom):
    volume, labels = phantom
    answer = answer_of(volume, [DrawnSlice("z", 8, np.ones_like(labels[0]))])
    assert (answer.labels[8] == 1).all() and np.isfinite(answer.confidence).all()


def test_where_every_slice_is_drawn_the_drawing_is_the_answer(phantom):
    volume, labels = phantom
    answer = answer_of(volume, drawn_on(labels, *range(16)))
    assert np.array_equal(answer.labels, labels) and not answer.next_slices
    assert any("every slice is drawn" in note for note in answer.notes)


def test_a_picture_of_one_slice_that_is_drawn_is_its_own_answer():
    volume, labels = organs(size=(36, 34, 1))
    answer = answer_of(volume, drawn_on(labels, 0))
    assert np.array_equal(answer.labels, labels)


# ---- what it refuses ----


@pytest.mark.parametrize("items", [[], [DrawnSlice("z", 3, np.zeros((34, 36)))]])
def test_nothing_drawn_is_refused(phantom, items):
    with pytest.raises(InputError, match="nothing is drawn; draw at least one segment"):
        FewShot(phantom[0], QUICK).set_support(items)


def test_propagating_before_anything_is_drawn_is_refused(phantom):
    with pytest.raises(InputError, match="nothing is drawn"):
        FewShot(phantom[0], QUICK).propagate()


@pytest.mark.parametrize("slices", [(0, 16), (5, 3), (-1, 2)])
def test_slices_that_do_not_exist_are_refused(phantom, slices):
    volume, labels = phantom
    with pytest.raises(InputError, match="which has slices 0 to 15"):
        answer_of(volume, drawn_on(labels, 7), slices)


def test_an_image_without_contrast_is_refused():
    with pytest.raises(InputError, match="is constant"):
        FewShot(Volume(np.zeros((4, 5, 6)), np.eye(4)))


# ---- repeating and stopping ----


def test_a_stopped_run_changes_nothing_and_the_same_drawing_gives_the_same_answer(phantom):
    volume, labels = phantom
    tool = FewShot(volume, QUICK)
    tool.set_support(drawn_on(labels, *DRAWN))
    stopped = tool.propagate()
    for _ in range(12):
        next(stopped)
    stopped.close()
    first, fresh = run_to_end(tool.propagate()), answer_of(volume, drawn_on(labels, *DRAWN))
    assert np.array_equal(first.labels, fresh.labels) and np.array_equal(first.confidence, fresh.confidence)


def test_after_an_edit_the_answer_is_that_of_a_new_tool(phantom):
    volume, labels = phantom
    edited = labels[12].copy()
    edited[:, :16] = 0
    drawing = [*drawn_on(labels, 7), DrawnSlice("z", 12, edited)]
    tool = FewShot(volume, QUICK)
    tool.set_support(drawn_on(labels, *DRAWN))
    run_to_end(tool.propagate())
    tool.set_support(drawing)
    assert np.array_equal(run_to_end(tool.propagate()).labels, answer_of(volume, drawing).labels)


def test_each_step_of_progress_is_a_share_of_the_whole(phantom):
    volume, labels = phantom
    tool = FewShot(volume, QUICK)
    tool.set_support(drawn_on(labels, *DRAWN))
    seen = []
    run_to_end(tool.propagate(), lambda step: seen.append(step.fraction))
    assert len(seen) > 10 and all(0 <= f <= 1 for f in seen)


@pytest.mark.parametrize("steps", [20, 250])
def test_every_step_equals_torchs_adamw_under_its_one_cycle_schedule(steps):
    generator = torch.Generator().manual_seed(3)
    start = [torch.randn(4, 5, generator=generator), torch.randn(5, generator=generator)]
    target = [torch.randn(p.shape, generator=generator) for p in start]
    own, theirs = ([p.clone().requires_grad_() for p in start] for _ in range(2))
    mine = OneCycleAdamW(own, 6e-3, 1e-2, steps)
    reference = torch.optim.AdamW(theirs, 3e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(reference, 6e-3, total_steps=steps)
    for _ in range(steps):
        for parameters in (own, theirs):
            sum(((p - t) ** 4).sum() for p, t in zip(parameters, target, strict=True)).backward()
        mine.step()
        reference.step()
        schedule.step()
        reference.zero_grad()
        for a, b in zip(own, theirs, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_learning_the_appearance_and_training_do_not_load_torchs_compiler():
    script = (
        "import sys, types, torch\n"
        "from S3NetSegmentLib.engine import run_to_end\n"
        "from S3NetSegmentLib.engine.few_shot.voters.appearance import fit_pixels\n"
        "x = torch.randn(200, 6)\n"
        "y = torch.nn.functional.one_hot((x[:, 0] > 0).long(), 2).float()\n"
        "run_to_end(fit_pixels(x, y, 0, 20))\n"
        "from S3NetSegmentLib.engine.training.trainer.optimisation import make_optimizer\n"
        "from S3NetSegmentLib.engine.training.settings import TrainerSettings\n"
        "weight = torch.nn.Parameter(torch.ones(3))\n"
        "task = types.SimpleNamespace(parameter_groups=lambda: [{'params': [weight]}])\n"
        "for kind in ('adamw', 'sgd'):\n"
        "    optimizer = make_optimizer(task, TrainerSettings(optimizer=kind))\n"
        "    weight.square().sum().backward()\n"
        "    optimizer.step()\n"
        "    optimizer.zero_grad()\n"
        "    optimizer.load_state_dict(optimizer.state_dict())\n"
        "sys.exit('torch._dynamo' in sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    assert subprocess.run([sys.executable, "-c", script], env=environment, check=False).returncode == 0
