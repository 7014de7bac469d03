"""The network that is shown a box, computed with numpy: what it is shown, and that it answers as its training's PyTorch does."""

import importlib
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from S3NetSegmentLib.engine.segment.objects.box_network import (
    SIDE,
    WEIGHTS,
    BoxNetwork,
    CutOut,
    default_box_network,
    network_input,
)

TRAINING = Path(__file__).resolve().parents[2] / "training"


@pytest.fixture(scope="module")
def trained_with():
    """The modules of its training, by name."""
    sys.path.insert(0, str(TRAINING))
    try:
        names = ("prompted_net", "prompt_scenes", "shape_scenes", "train_prompted")
        return {name: importlib.import_module(name) for name in names}
    finally:
        sys.path.remove(str(TRAINING))


@pytest.mark.parametrize("channels", [1, 3])
def test_it_answers_as_the_network_of_its_training(trained_with, channels):
    torch.manual_seed(0)
    network = trained_with["prompted_net"].PromptedNet("plain").eval()
    box = np.zeros((SIDE, SIDE), bool)
    box[16:80, 20:70] = True
    shown = network_input(np.random.default_rng(0).random((channels, SIDE, SIDE), np.float32), box)
    with torch.no_grad():
        wanted = network(torch.from_numpy(shown)[None])[0].numpy()
    weights = {name: value.numpy() for name, value in network.state_dict().items()}
    assert np.abs(BoxNetwork(weights).logits(shown) - wanted).max() < 1e-3


@pytest.mark.parametrize("channels", [1, 3])
def test_brightness_and_contrast_of_the_image_change_nothing_that_it_sees(channels):
    features = np.random.default_rng(0).random((channels, SIDE, SIDE), np.float32)
    box = np.zeros((SIDE, SIDE), bool)
    box[16:80, 20:70] = True
    assert np.abs(network_input(features, box) - network_input(3 * features + 2, box)).max() < 0.15
    assert network_input(features, box)[-1].tolist() == np.where(box, 1, -1).tolist()


@pytest.mark.parametrize("edges", [(20, 60, 30, 90), (0, 8, 100, 120), (50, 53, 10, 110), (10.5, 99.5, 3, 118)])
def test_every_box_is_a_square_of_one_size_unless_it_is_very_long(edges):
    cut = CutOut.around(edges)
    box = cut.box(edges)
    rows, columns = np.count_nonzero(box.any(1)), np.count_nonzero(box.any(0))
    usual = round(SIDE / 1.5)
    assert max(rows, columns) in (usual - 1, usual, usual + 1)
    long = max(edges[1] - edges[0], edges[3] - edges[2]) / min(edges[1] - edges[0], edges[3] - edges[2])
    assert min(rows, columns) == pytest.approx(usual * min(1, 5 / long), abs=2)


@pytest.mark.parametrize("step", [1, 3])
def test_what_was_cut_out_lies_where_it_came_from(step):
    rows, columns = np.mgrid[:90, :130]
    image = np.exp(-((rows - 40) ** 2 + (columns - 70) ** 2) / 300)
    cut = CutOut.around((25, 56, 50, 92))
    place = slice(20, 60, step), slice(45, 95, step)
    back = cut.back(cut.of(image[..., None].astype(np.float32))[0], *place)
    assert np.abs(back - image[place]).max() < 0.03


def test_beyond_the_slice_its_border_goes_on_and_nothing_is_answered_outside_the_part():
    image = np.full((40, 50, 1), 7.0, np.float32)
    image[:, :3] = 2
    cut = CutOut.around((0, 20, 0, 20))
    shown = cut.of(image)
    assert shown.shape == (1, SIDE, SIDE) and np.isfinite(shown).all() and shown[0, SIDE // 2, 0] == pytest.approx(2)
    assert not cut.back(np.ones((SIDE, SIDE), np.float32), slice(36, 40), slice(40, 50)).any()


def test_the_weights_that_ship_are_small_and_say_how_they_were_made():
    assert WEIGHTS.stat().st_size <= 2_000_000
    network = default_box_network()
    assert network.about["samples"] > 100_000 and network.about["blocks"] == "plain"


def test_weights_that_would_run_code_are_not_read(tmp_path):
    class Evil:
        def __reduce__(self):
            return Path.touch, (tmp_path / "ran",)

    np.savez(tmp_path / "evil.npz", about=np.array("{}"), stem=np.array([Evil()], object))
    with pytest.raises(ValueError, match="allow_pickle"):
        BoxNetwork.load(tmp_path / "evil.npz")
    assert not (tmp_path / "ran").exists()


def test_a_disk_in_a_box_is_found_whatever_its_size_and_contrast():
    rows, columns = np.mgrid[:160, :200]
    for radius, inside in ((6, 0.8), (20, 0.2), (55, 0.65)):
        disk = np.hypot(rows - 80, columns - 100) < radius
        image = np.where(disk, inside, 0.5) + np.random.default_rng(1).normal(0, 0.02, disk.shape)
        edges = (80 - radius, 80 + radius, 100 - radius, 100 + radius)
        answer = default_box_network().answer(image[..., None].astype(np.float32), edges)
        found = answer.at(slice(0, 160), slice(0, 200)) > 0.5
        assert 2 * (found & disk).sum() / (found.sum() + disk.sum()) > 0.9


def test_scenes_hold_organs_of_several_parts_as_one_object(trained_with):
    rng = np.random.default_rng(0)
    labels = np.zeros((40, 40), np.int32)
    labels[10:30, 10:20], labels[10:30, 20:30] = 1, 2
    objects = trained_with["shape_scenes"]._objects(rng, labels, [[1, 2]])
    whole = (labels > 0).sum()
    assert whole in [mask.sum() for mask in objects]


def test_the_training_goes_on_from_given_weights(trained_with, tmp_path, monkeypatch):
    scenes, training = trained_with["prompt_scenes"], trained_with["train_prompted"]
    for module in (scenes, training):
        monkeypatch.setattr(module, "PART", 3)
    monkeypatch.setattr(training, "BATCH", 2)
    scenes.fill_bank(tmp_path / "bank", 6, seed=1)
    options = {"folder": tmp_path, "bank": tmp_path / "bank", "start": WEIGHTS, "blocks": "plain", "consistency": 0.0}
    options |= {"loose": 0.3, "compile": False, "minutes": 0.002, "workers": 0, "finish": True, "seed": 0}
    run = training.Training(SimpleNamespace(**options))
    run.run()
    begun, ended = default_box_network(), BoxNetwork.load(tmp_path / "weights.npz")
    assert ended.about["samples"] == begun.about["samples"] + 2 * run.step and run.step > 0
    away = [np.abs(ended.weights[name] - begun.weights[name]).max() for name in begun.weights]
    assert 0 < max(away) < 0.1
    resumed = training.Training(SimpleNamespace(**options | {"start": None}))
    resumed.run()
    assert resumed.step > run.step
    ended = BoxNetwork.load(tmp_path / "weights.npz")
    assert ended.about["samples"] == begun.about["samples"] + 2 * resumed.step
    with pytest.raises(SystemExit, match="blocks 'plain', not 's3net'"):
        training.Training(SimpleNamespace(**options | {"folder": tmp_path / "other", "blocks": "s3net"}))
