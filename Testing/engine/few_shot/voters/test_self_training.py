"""Test-time training (TTT): the encoder is trained on each slice and its first answer before the slice is answered again."""

import dataclasses

import numpy as np
import pytest
import torch
from few_shot_encoders import GreyValues, ignorant, knowing
from few_shot_phantoms import dice, organs

from S3NetSegmentLib.engine import InputError, run_to_end
from S3NetSegmentLib.engine.common.tensors import torch_generator
from S3NetSegmentLib.engine.few_shot.method import DrawnSlice, FewShot, SupportVolume
from S3NetSegmentLib.engine.few_shot.settings import few_shot_preset
from S3NetSegmentLib.engine.few_shot.voters import encoders
from S3NetSegmentLib.engine.few_shot.voters.self_training import SelfTraining
from S3NetSegmentLib.engine.training.alpnet import AlpnetTask, ViewRanges, episode

pytestmark = pytest.mark.usefixtures("one_thread")
SIDE, GRID = 56, 16
PLAIN = dataclasses.replace(few_shot_preset("published"), encoder_side=SIDE, encoder_grid=GRID)


@pytest.fixture(autouse=True)
def no_features_of_other_tests():
    encoders.SHARED.clear()


def slice_of(number=9):
    volume, labels = organs()
    image = torch.from_numpy(volume.array[number].astype(np.float32))[None]
    return (image - image.min()) / (image.max() - image.min()), torch.from_numpy(labels[number].astype(np.int64))


def training_of(encoder, steps, seed=0):
    return SelfTraining(encoder.network, steps, SIDE, GRID, seed)


def weights_of(network):
    return [p.detach().clone() for p in network.parameters()]


def answer_of(settings, encoder, drawn=(9,), **options):
    volume, labels = organs()
    tool = FewShot(volume, settings, "z", encoder, "cpu")
    tool.set_support([DrawnSlice("z", z, labels[z]) for z in drawn])
    return run_to_end(tool.propagate(**options)), labels


def loss_of(network, image, mask):
    """Mean loss of training over twenty episodes that it has not seen."""
    training = training_of(knowing(), 1)
    task, found = AlpnetTask(network, training._settings), []
    for n in range(20):
        views = episode(image, mask, ViewRanges(), SIDE, torch_generator(99, n))
        with torch.no_grad():
            found.append(float(sum(task({name: view[None] for name, view in views.items()}).values())))
    return np.mean(found)


def test_training_lowers_the_loss_on_views_of_the_slice_that_it_has_not_seen():
    image, classes = slice_of()
    encoder = ignorant()
    before = loss_of(encoder.network, image, classes > 0)
    trained = run_to_end(training_of(encoder, 60).trained(image, (classes > 0).long(), 9))
    assert loss_of(trained, image, classes > 0) < before - 0.02


def test_of_a_transformer_only_new_adapters_are_trained_and_of_another_network_everything():
    image, classes = slice_of()
    encoder = ignorant()
    training = training_of(encoder, 3)
    trained = run_to_end(training.trained(image, classes, 9))
    changed = {
        name for name, p in trained.named_parameters() if p.requires_grad and any(q is p for q in training._trained)
    }
    assert changed and all(name.endswith((".down", ".up")) for name in changed)
    assert {min(p.shape) for name, p in trained.named_parameters() if name in changed} == {4}  # the published rank
    base = dict(encoder.network.named_parameters())
    same = {name.replace(".base.", "."): p for name, p in trained.named_parameters() if name not in changed}
    assert same.keys() == base.keys() and all(torch.equal(same[name], base[name]) for name in base)
    other = run_to_end(training_of(knowing(), 3).trained(image, classes, 9))
    assert isinstance(other, GreyValues) and not torch.equal(other.levels, knowing().network.levels)


def test_each_slice_begins_with_the_weights_of_the_encoder_which_stay_as_they_are():
    encoder, (image, classes) = knowing(), slice_of()
    before = weights_of(encoder.network)
    alone = weights_of(run_to_end(training_of(encoder, 4).trained(image, classes, 9)))
    training = training_of(encoder, 4)
    run_to_end(training.trained(*slice_of(5), 5))
    after_another = weights_of(run_to_end(training.trained(image, classes, 9)))
    assert all(torch.equal(a, b) for a, b in zip(alone, after_another, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(before, weights_of(encoder.network), strict=True))
    other = weights_of(run_to_end(training_of(encoder, 4, seed=1).trained(image, classes, 9)))
    assert not all(torch.equal(a, b) for a, b in zip(alone, other, strict=True))


def test_where_nothing_was_found_and_where_weights_run_away_the_first_answer_stays():
    image, classes = slice_of()
    assert run_to_end(training_of(knowing(), 3).trained(image, torch.zeros_like(classes), 9)) is None
    assert run_to_end(training_of(knowing(), 3).trained(torch.full_like(image, torch.nan), classes, 9)) is None


def test_every_segment_that_was_found_is_learned():
    image, classes = slice_of()
    seen = set()

    training = training_of(knowing(), 12)
    original = AlpnetTask.forward

    def watched(self, batch, progress=0.0):
        seen.add(int(batch["query_mask"].sum()) > int((classes == 2).sum()) * (SIDE / max(image.shape[1:])) ** 2)
        return original(self, batch, progress)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AlpnetTask, "forward", watched)
        run_to_end(training.trained(image, classes, 9))
    assert seen == {True, False}


def test_the_answer_is_another_one_and_hangs_neither_on_chance_nor_on_the_slices_before():
    plain, labels = answer_of(PLAIN, knowing())
    asked = dataclasses.replace(PLAIN, test_time_steps=4)
    one, again = (answer_of(asked, knowing(), slices=(8, 10))[0] for _ in range(2))
    assert np.array_equal(one.labels, again.labels) and np.array_equal(one.labels[9], labels[9])
    assert not np.array_equal(one.labels[8], plain.labels[8])
    alone = answer_of(asked, knowing(), slices=(10, 10))[0]
    assert np.array_equal(alone.labels[10], one.labels[10])


def test_features_that_know_the_organs_still_find_them():
    settings = dataclasses.replace(PLAIN, encoder_grid=42, encoder_side=84, test_time_steps=3)
    answer, labels = answer_of(settings, knowing(), slices=(8, 10))
    inside = labels.copy()
    inside[:8], inside[11:] = 0, 0
    assert max(dice(answer.labels, inside, c) for c in (1, 2)) > 0.5


def test_drawn_slices_of_another_volume_are_seen_by_the_trained_encoder_too(monkeypatch):
    volume, labels = organs()
    seen, of = [], encoders.SliceFeatures.of

    def watched(self, numbers, network=None):
        seen.append((self, network is not None))
        return of(self, numbers, network)

    monkeypatch.setattr(encoders.SliceFeatures, "of", watched)
    found = {}
    for steps in (0, 4):
        tool = FewShot(volume, dataclasses.replace(PLAIN, test_time_steps=steps), "z", knowing(), "cpu")
        tool.set_support([SupportVolume(volume, labels, axis="z")])
        found[steps] = run_to_end(tool.propagate(slices=(8, 9))).confidence[8]
        assert len({features for features, trained in seen if trained}) == (2 if steps else 0)  # here and there
    assert not np.allclose(found[0], found[4], atol=1e-3)


def test_a_few_drawn_slices_of_another_volume_are_filled_in_without_an_encoder():
    volume, labels = organs()
    settings = dataclasses.replace(PLAIN, method="default", test_time_steps=2, appearance_steps=20)
    tool = FewShot(volume, settings, "z", knowing(), "cpu")
    tool.set_support([SupportVolume(volume, labels, axis="z", drawn=(7, 11))])
    assert run_to_end(tool.propagate(slices=(8, 9))).labels.any()


def test_a_preview_is_not_trained_and_without_an_encoder_it_is_refused():
    asked = dataclasses.replace(PLAIN, test_time_steps=10_000)  # minutes
    preview, _ = answer_of(asked, ignorant(), slices=(8, 8), quick=True)
    plain, _ = answer_of(PLAIN, ignorant(), slices=(8, 8), quick=True)
    assert np.array_equal(preview.labels, plain.labels)
    with pytest.raises(InputError, match=r"test_time_steps is 5, but there is no pretrained encoder"):
        FewShot(organs()[0], dataclasses.replace(few_shot_preset("default"), test_time_steps=5))


def test_cancelling_in_the_middle_changes_nothing_for_the_next_answer():
    volume, labels = organs()
    tool = FewShot(volume, dataclasses.replace(PLAIN, test_time_steps=4), "z", knowing(), "cpu")
    tool.set_support([DrawnSlice("z", 9, labels[9])])
    steps = tool.propagate(slices=(7, 8))
    messages = []
    while not any("Training" in message for message in messages):
        messages.append(next(steps).message)
    steps.close()
    expected, _ = answer_of(dataclasses.replace(PLAIN, test_time_steps=4), knowing(), slices=(7, 8))
    assert np.array_equal(run_to_end(tool.propagate(slices=(7, 8))).labels, expected.labels)
