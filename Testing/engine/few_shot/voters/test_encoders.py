"""Encoders for Few-shot by name, from the user's folder of weights, and from files; features that are kept, scores, and when they count."""

import io

import numpy as np
import pytest
import torch
from few_shot_encoders import ignorant, knowing
from few_shot_phantoms import dice, organs

from S3NetSegmentLib.engine import InputError, run_to_end
from S3NetSegmentLib.engine.common.arrays import LimitedCache
from S3NetSegmentLib.engine.few_shot.drawings.drawing import Drawing
from S3NetSegmentLib.engine.few_shot.method import (  # fmt: skip
    DrawnPlane,
    DrawnSlice,
    FewShot,
    FewShotSettings,
    SupportVolume,
)
from S3NetSegmentLib.engine.few_shot.vote.decision import further_share
from S3NetSegmentLib.engine.few_shot.voters import encoders
from S3NetSegmentLib.engine.few_shot.voters.encoders import SliceFeatures, content_digest, load_encoder
from S3NetSegmentLib.engine.few_shot.voters.prototypes import OtherVolumeSlices, Prototypes
from S3NetSegmentLib.engine.images.intensity import intensity_scale
from S3NetSegmentLib.engine.nets import dinov2
from S3NetSegmentLib.engine.nets.dinov2 import Architecture
from S3NetSegmentLib.engine.nets.weights import CATALOGUE, DEFAULT_WEIGHTS, WeightsFile, WeightsStore

TINY, LARGER = "dinov2-tiny14", "dinov2-larger14"
SHAPES = {TINY: Architecture(12, 1, 2, 24), LARGER: Architecture(16, 1, 2, 32)}
SMALL = {"encoder_side": 84, "encoder_grid": 32, "appearance_steps": 60}
ALPNET = FewShotSettings(method="alpnet", **SMALL)
DRAWN = (6, 9, 13)


@pytest.fixture(autouse=True)
def small_models(monkeypatch):
    monkeypatch.setattr(dinov2, "ARCHITECTURES", {**dinov2.ARCHITECTURES, **SHAPES})
    for name in SHAPES:
        monkeypatch.setitem(CATALOGUE, name, WeightsFile(name, 10_000, "0" * 64))


@pytest.fixture
def store(tmp_path):
    return WeightsStore(tmp_path / "weights")


def weights_at(path, name=TINY):
    model = SHAPES[name].build().initialize(torch.Generator().manual_seed(0))
    buffer = io.BytesIO()
    torch.save(dict(model.state_dict()), buffer)
    path.write_bytes(buffer.getvalue())
    return path


def test_default_is_no_encoder_and_auto_is_none_where_there_are_no_weights(store):
    assert load_encoder("default", "cpu", store) is None
    assert load_encoder("auto", "cpu", store) is None


def test_auto_takes_what_is_there_and_a_name_takes_its_own(store, tmp_path):
    for name in (LARGER, TINY):
        run_to_end(store.add(weights_at(tmp_path / f"{name}.pth", name)))
    named = load_encoder(LARGER, "cpu", store)
    assert named.name == LARGER and named.network.channels == (16,) and named.digest == store.find(LARGER).sha256
    assert load_encoder("auto", "cpu", store).name == TINY  # the first in the catalogue that is there
    assert DEFAULT_WEIGHTS in CATALOGUE and named.device.type == "cpu"
    features = named.network(torch.rand(1, 1, 28, 42))[0]
    assert features.shape == (1, 16, 2, 3) and torch.isfinite(features).all()


def test_a_file_of_weights_need_not_be_in_the_folder(store, tmp_path):
    encoder = load_encoder(weights_at(tmp_path / "mine.pth"), "cpu", store)
    assert encoder.name == "mine.pth" and len(encoder.digest) == 64
    assert not any(p.requires_grad for p in encoder.network.parameters())


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("dinov2-vits14", "not on this computer; get them with 's3net weights get dinov2-vits14'"),
        ("resnet", "it must be auto, default, a file, or one of"),
        ("there/is/none.pth", "there is no file"),
    ],
)
def test_what_is_not_there_is_refused_with_the_remedy(store, name, said):
    with pytest.raises(InputError, match=said):
        load_encoder(name, "cpu", store)


def test_a_wrong_or_truncated_file_is_refused(store, tmp_path):
    whole = weights_at(tmp_path / "whole.pth").read_bytes()
    (tmp_path / "cut.pth").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "other.pth").write_bytes(b"not weights at all")
    buffer = io.BytesIO()
    torch.save({"layer.weight": torch.zeros(3)}, buffer)
    (tmp_path / "foreign.pth").write_bytes(buffer.getvalue())
    for name, said in (("cut", "cut off"), ("other", "no file of weights"), ("foreign", "not those of a DINOv2")):
        with pytest.raises(InputError, match=said):
            load_encoder(tmp_path / f"{name}.pth", "cpu", store)


def test_weights_that_are_not_numbers_are_refused(store, tmp_path):
    tensors = SHAPES[TINY].build().initialize(torch.Generator().manual_seed(0)).state_dict()
    tensors["norm.weight"] = torch.full_like(tensors["norm.weight"], np.nan)
    torch.save(dict(tensors), tmp_path / "nan.pth")
    with pytest.raises(InputError, match="not all finite"):
        load_encoder(tmp_path / "nan.pth", "cpu", store)


@pytest.fixture(autouse=True)
def no_features_of_other_tests():
    encoders.SHARED.clear()


@pytest.fixture(scope="module")
def phantom():
    return organs()


def few_shot(phantom, encoder, settings=ALPNET, drawn=DRAWN):
    volume, labels = phantom
    tool = FewShot(volume, settings, "z", encoder, "cpu")
    tool.set_support([DrawnSlice("z", z, labels[z]) for z in drawn])
    return tool


def features_of(volume, encoder, cache=None, **changes):
    options = {"side": 84, "cells": 32, "cache": cache or LimitedCache(10**9), **changes}
    return SliceFeatures(volume, intensity_scale(volume), "z", encoder, run_to_end(content_digest(volume)), **options)


# ---- features ----


def test_features_are_encoded_once_and_found_again_by_content(phantom):
    volume, _ = phantom
    encoder, cache = knowing(), LimitedCache(10**9)
    first = run_to_end(features_of(volume, encoder, cache).of([3, 4]))
    assert encoder.network.encoded == 2 and first.dtype == torch.float16
    again = run_to_end(features_of(organs()[0], encoder, cache).of([4, 5]))
    assert encoder.network.encoded == 3 and torch.equal(first[1], again[0])
    run_to_end(features_of(organs(seed=1)[0], encoder, cache).of([4]))
    assert encoder.network.encoded == 4


def test_the_features_that_were_not_used_for_longest_are_encoded_anew(phantom):
    volume, _ = phantom
    encoder = knowing()
    one = run_to_end(features_of(volume, encoder, LimitedCache(10**9)).of([1])).nbytes
    features, before = features_of(volume, encoder, LimitedCache(3 * one)), encoder.network.encoded
    for numbers, encoded in (([1, 2, 3], 3), ([1], 3), ([4], 4), ([1, 3, 4], 4), ([2], 5)):
        run_to_end(features.of(numbers))
        assert encoder.network.encoded - before == encoded


def test_pixels_that_the_encoder_sees_are_square_in_mm_and_show_the_body_only():
    volume, _ = organs(size=(60, 36, 12), spacing=(1.0, 2.0, 4.0))
    view = features_of(volume, knowing()).view
    assert view.columns[0] > 0 and view.columns[1] < 60
    lengths = (view.rows[1] - view.rows[0]) * 2.0, view.columns[1] - view.columns[0]
    assert view.pixels[0] / lengths[0] == pytest.approx(view.pixels[1] / lengths[1], rel=0.03)
    assert max(view.pixels) == 84 and max(view.grid) == 32


def test_another_volume_is_encoded_at_the_same_mm_per_pixel(phantom):
    query = features_of(phantom[0], knowing())
    other = organs(size=(30, 27, 14), spacing=(2.0, 2.0, 4.0))[0]
    same = features_of(other, knowing(), pitch=query.pitch)
    assert same.view.pixels == pytest.approx(query.view.pixels, abs=4)


# ---- the scores alone ----


def test_prototypes_alone_find_the_organs_and_keep_the_drawn_slices(phantom):
    volume, labels = phantom
    answer = run_to_end(few_shot(phantom, knowing()).propagate())
    assert min(dice(answer.labels, labels, c) for c in (1, 2)) > 0.8
    assert all(np.array_equal(answer.labels[z], labels[z]) for z in DRAWN)
    assert answer.mix == {"prototypes": 1.0} and answer.confidence.shape == volume.array.shape
    assert np.isfinite(answer.confidence).all() and not {z for z, _ in answer.next_slices} & set(DRAWN)


def test_only_a_slab_is_encoded_when_a_slab_is_asked_for(phantom):
    encoder = knowing()
    whole = run_to_end(few_shot(phantom, knowing()).propagate())
    slab = run_to_end(few_shot(phantom, encoder).propagate((8, 10), quick=True))
    assert encoder.network.encoded < 15
    assert not slab.labels[:6].any() and dice(slab.labels[8:11], whole.labels[8:11], 1) > 0.9


def test_method_alpnet_without_an_encoder_is_refused_with_the_remedy(phantom):
    with pytest.raises(InputError, match="needs a pretrained encoder; get weights"):
        FewShot(phantom[0], ALPNET)


def test_a_drawing_in_another_volume_is_enough_for_prototypes():
    support, drawn = organs()
    query, true = organs(shift=(5, -4, 3), turn=0.15, seed=1)
    tool = FewShot(query, ALPNET, encoder=knowing(), device="cpu")
    tool.set_support([SupportVolume(support, drawn)])
    answer = run_to_end(tool.propagate())
    assert min(dice(answer.labels, true, c) for c in (1, 2)) > 0.6


def test_an_oblique_drawing_makes_prototypes_too(phantom):
    volume, labels = phantom
    angle = np.deg2rad(30)
    matrix = np.eye(4)
    matrix[:3, 1], matrix[:3, 2] = (0, np.cos(angle), np.sin(angle)), (0, -np.sin(angle), np.cos(angle))
    matrix[:3, 3] = volume.ras_of((0, 17.5, 9.5)) - 40 * matrix[:3, 1]
    rows, columns = np.mgrid[0:81, 0:60]
    place = np.stack([matrix[:3, 3, None] + matrix[:3, :2] @ np.stack((columns.ravel(), rows.ravel()))])[0]
    ijk = np.rint(place / np.array(volume.spacing)[:, None]).astype(int)
    inside = ((ijk >= 0) & (ijk < np.array(volume.size)[:, None])).all(0)
    drawn = np.zeros(rows.size, np.uint8)
    drawn[inside] = labels[tuple(ijk[::-1, inside])]
    tool = FewShot(volume, ALPNET, encoder=knowing(), device="cpu")
    tool.set_support([DrawnPlane(drawn.reshape(rows.shape), matrix)])
    answer = run_to_end(tool.propagate())
    assert min(dice(answer.labels, labels, c) for c in (1, 2)) > 0.6


# ---- the scores as a part of the vote ----


def hidden_and_whole(phantom, encoder, drawn=DRAWN):
    settings = FewShotSettings(**SMALL)
    return run_to_end(few_shot(phantom, encoder, settings, drawn).propagate())


def test_features_that_mean_nothing_are_left_out_and_the_answer_is_as_without_them(phantom):
    with_them, without = (hidden_and_whole(phantom, encoder, (6, 12)) for encoder in (ignorant(), None))
    assert with_them.mix.get("prototypes", 0) == 0
    assert np.array_equal(with_them.labels, without.labels)


def test_one_drawn_slice_gives_the_prototypes_a_small_say(phantom):
    answer = hidden_and_whole(phantom, knowing(), (9,))
    assert 0 < answer.mix["prototypes"] <= 0.15


def masks(labels, classes=3):
    return torch.nn.functional.one_hot(torch.from_numpy(labels.astype(np.int64)), classes).permute(2, 0, 1).float()


@pytest.mark.parametrize(
    ("own", "further", "share"),
    [("blurred", "true", 1.0), ("true", "noise", 0.0), ("shifted", "shifted", 0.0), ("shifted", "true", 1.0)],
)
def test_a_further_part_gets_what_predicts_hidden_slices_best(phantom, own, further, share):
    labels = phantom[1][9]
    noise = torch.rand(3, *labels.shape, generator=torch.Generator().manual_seed(0))
    kinds = {
        "true": masks(labels),
        "shifted": masks(np.roll(labels, 3, 1)),
        "blurred": masks(np.roll(labels, 3, 1)) * 0.6 + masks(np.roll(labels, -3, 1)) * 0.4,
        "noise": noise / noise.sum(0),
    }
    hidden = [({"grown": kinds[own], "prototypes": kinds[further]}, masks(labels).argmax(0))]
    found = further_share({"grown": 1.0}, "prototypes", 0.1, hidden)
    assert found >= 0.6 if share else found == 0.0
    assert further_share({"grown": 1.0}, "prototypes", 0.1, []) == 0.1


def part(phantom, encoder, former=None, changed=None):
    volume, labels = phantom
    planes = {z: labels[z].copy() for z in DRAWN}
    if changed is not None:
        planes[changed][10:14, 10:14] = 1
    drawing = Drawing(volume, [DrawnSlice("z", z, plane) for z, plane in planes.items()], "z", 4.0)
    made = Prototypes(features_of(volume, encoder, encoders.SHARED), drawing, 60.0, torch.device("cpu"), former=former)
    run_to_end(made._prepare())
    return made


def test_the_progress_over_several_other_volumes_never_falls(phantom):
    volume, labels = phantom
    encoder = knowing()
    others = [
        OtherVolumeSlices(features_of(organs(seed=n)[0], encoder), {z: labels[z] + np.uint8(1) for z in DRAWN})
        for n in (1, 2)
    ]
    drawing = Drawing(volume, [DrawnSlice("z", DRAWN[0], labels[DRAWN[0]])], "z", 4.0)
    made = Prototypes(features_of(volume, encoder), drawing, 60.0, torch.device("cpu"), others)
    fractions = [step.fraction for step in made._support_elsewhere()]
    assert fractions == sorted(fractions) and fractions[-1] == 1.0


def test_a_changed_slice_makes_only_its_own_prototypes_again(phantom, monkeypatch):
    from S3NetSegmentLib.engine.few_shot.voters import alpnet

    made = []
    real = alpnet.prototypes_of
    encoder = knowing()
    former = part(phantom, encoder)
    monkeypatch.setattr(alpnet, "prototypes_of", lambda s, settings: made.append(s) or real(s, settings))
    monkeypatch.setattr(
        "S3NetSegmentLib.engine.few_shot.voters.prototypes.choose_settings",
        lambda support, base, *_: former._head.settings,
    )
    encoded = encoder.network.encoded
    after = part(phantom, encoder, former, changed=9)
    assert len(made) == 1 and encoder.network.encoded == encoded
    numbers = [7, 8]
    features = run_to_end(after._features.of(numbers))
    fresh = part(phantom, encoder, changed=9)
    assert torch.allclose(after.scores(features, numbers), fresh.scores(features, numbers), atol=1e-4)


def test_a_hidden_slice_is_not_used(phantom):
    whole = part(phantom, knowing())
    features = run_to_end(whole._features.of([9]))
    seen, hidden = whole.scores(features, [9]), whole.scores(features, [9], without=9)
    assert not torch.allclose(seen, hidden)
