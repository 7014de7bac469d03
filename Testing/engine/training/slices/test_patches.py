"""3D: patches of slices that lie on each other, how they are cut, changed and learnt, and how a volume is put together again."""

import dataclasses

import numpy as np
import pytest
import torch
from cohort_files import phantom, write_cohort
from model_files import CLASSES, write_model

from S3NetSegmentLib.engine import InputError, Volume, run_to_end
from S3NetSegmentLib.engine.apply import ModelSegmenter
from S3NetSegmentLib.engine.common.affine2d import Affine2d
from S3NetSegmentLib.engine.common.tensors import torch_generator
from S3NetSegmentLib.engine.nets.unet import TwoStreamUNet, seeded
from S3NetSegmentLib.engine.training.cohort.folder import read_cohort
from S3NetSegmentLib.engine.training.finetune import validate
from S3NetSegmentLib.engine.training.ideal.finetuning import IdealFinetuning
from S3NetSegmentLib.engine.training.ideal.settings import finetuning_preset
from S3NetSegmentLib.engine.training.model import sliding_window
from S3NetSegmentLib.engine.training.model.ensemble import Ensemble, load_ensemble
from S3NetSegmentLib.engine.training.model.model_file import Model, load_encoder_file
from S3NetSegmentLib.engine.training.preparation import choose_layout
from S3NetSegmentLib.engine.training.settings import TwoStreamBatchSettings
from S3NetSegmentLib.engine.training.slices.augmentation import IntensityRanges, change_intensities, mixed
from S3NetSegmentLib.engine.training.slices.bank import build_bank
from S3NetSegmentLib.engine.training.slices.batches import TwoStreamBatches
from S3NetSegmentLib.engine.training.slices.layout import SliceLayout

PATCHES = SliceLayout("axial", 1.0, 32, depth=8, thickness=1.0)


class Bright(torch.nn.Module):
    """Class 1 from a grey of 0.5 on, in slices and in patches; remembers the sizes of what it saw."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, images):
        self.seen.append(tuple(images.shape[2:]))
        x = 100 * images[:, :1]
        return torch.cat((torch.full_like(x, 50.0), x, torch.zeros_like(x)), 1)


class Certain(torch.nn.Module):
    """The same probabilities everywhere."""

    def __init__(self, *probabilities):
        super().__init__()
        self.logits = torch.log(torch.tensor(probabilities))

    def forward(self, images):
        return self.logits.view(1, -1, *[1] * (images.ndim - 2)).expand(len(images), -1, *images.shape[2:])


def segmenter_of(*networks, layouts):
    models = tuple(Model("segmenter", {}, {}, layout, CLASSES) for layout in layouts)
    segmenter = ModelSegmenter(models[0], "cpu", networks[0])
    segmenter.models, segmenter._networks = Ensemble(models), list(networks)
    return segmenter


def blank(size, spacing):
    return Volume(np.zeros(size[::-1], np.int16), np.diag((*spacing, 1.0)))


def bank_of(folder, depth=8, labelled=2, unlabelled=1, size=(30, 28, 12), **options):
    cohort = run_to_end(
        read_cohort(write_cohort(folder, labelled, unlabelled, size=size, spacing=(1, 1, 1), **options))
    )
    layout, _ = choose_layout([c.grid for c in cohort.cases], depth=depth)
    return run_to_end(build_bank(cohort.cases, cohort.classes, layout)), cohort


# -- the choice


def test_patches_suit_the_volumes_and_shrink_across_the_slices_once_voxels_are_about_as_long_as_wide():
    layout, notes = choose_layout([blank((40, 40, 35), (1, 1, 1))] * 2, depth=32)
    assert (layout.depth, layout.thickness, layout.across(4)) == (32, 1.0, (2, 2, 2)) and not notes
    layout, _ = choose_layout([blank((40, 40, 10), (4, 4, 10))], depth=32)
    assert (layout.depth, layout.thickness, layout.across(4)) == (12, 10.0, (1, 2, 2))  # no deeper than needed
    layout, _ = choose_layout([blank((40, 40, 3), (1, 1, 10))], depth=32)
    assert (layout.depth, layout.across(4)) == (4, (1, 1, 1))
    layout, notes = choose_layout([blank((40, 40, 30), (1, 1, s)) for s in (1, 1, 2)], depth=8)
    assert layout.thickness == 1.0 and any("1 to 2 mm; all patches are resampled to 1 mm" in n for n in notes)
    coarse, _ = choose_layout([blank((400, 400, 60), (1, 1, 1))], side=40, depth=16)
    assert (coarse.spacing, coarse.thickness) == (10.0, 10.0)  # no finer across the slices than in them
    assert choose_layout([blank((40, 40, 35), (1, 1, 1))])[0].across(4) == ()


def test_single_slices_and_neighbours_are_refused_in_3d():
    with pytest.raises(InputError, match=r"1 of 2 images are single axial slices .* set dimensions=2"):
        choose_layout([blank((40, 40, 35), (1, 1, 1)), blank((40, 40, 1), (1, 1, 1))], depth=8)
    with pytest.raises(InputError, match="neighbours is 1, and a 3D network sees all slices"):
        dataclasses.replace(PATCHES, neighbours=1)
    for wrong in ({"depth": 0}, {"thickness": 0.0}, {"depth": 1}, {"depth": 513}, {"thickness": float("nan")}):
        with pytest.raises(InputError, match="are not possible"):
            dataclasses.replace(PATCHES, **wrong)


def test_a_step_sees_about_as_many_slices_in_patches_as_it_would_one_by_one():
    settings = TwoStreamBatchSettings(batch=24, unlabelled_batch=12)
    assert settings.patches(1) == (24, 12) and settings.patches(8) == (3, 2) and settings.patches(32) == (2, 1)


# -- the bank


def test_a_patch_is_slices_on_top_of_each_other_inside_one_volume(tmp_path):
    bank, _ = bank_of(tmp_path)
    assert len(bank) == 36 and bank.layout.depth == 8
    assert bank.places_at(np.array([0, 6, 11, 12, 35])).tolist() == [
        [*range(8)], [*range(2, 10)], [*range(4, 12)], [*range(12, 20)], [*range(28, 36)]
    ]  # fmt: skip
    images, labels = bank.images_at(np.array([6, 12])), bank.labels_at(np.array([6, 12]))
    assert images.shape == (2, 1, 8, 32, 32) and labels.shape == (2, 8, 32, 32)
    for number in range(8):
        assert torch.equal(images[1, :, number], bank.images[12 + number].float() / 255)
        assert torch.equal(labels[0, number], bank.drawn_at(np.array([2 + number]))[0])
    assert bank.valid_at(np.array([6])).shape == (1, 1, 8, 32, 32)


def test_a_volume_thinner_than_a_patch_lies_in_its_middle_and_the_rest_counts_nothing(tmp_path):
    bank, _ = bank_of(tmp_path, size=(30, 28, 5))
    assert bank.layout.depth == 8
    middle = np.array([7])  # of the second case, whose slices are 5 to 9
    assert bank.places_at(middle).tolist() == [[-1, 5, 6, 7, 8, 9, -1, -1]]
    image, labels, valid = bank.images_at(middle)[0, 0], bank.labels_at(middle)[0], bank.valid_at(middle)[0, 0]
    for number in (0, 6, 7):
        assert (image[number] == 0).all() and (labels[number] == -1).all() and not valid[number].any()
    assert torch.equal(image[1], bank.images[5, 0].float() / 255) and valid[1, 2:30, 1:31].all()


def test_slices_that_lie_otherwise_are_resampled_to_the_distance_of_the_patches():
    ramp = np.broadcast_to(np.arange(12.0)[:, None, None] * 100, (12, 20, 20)).astype(np.int16)
    volume = Volume(ramp, np.diag((1, 1, 2.0, 1)))
    slices = SliceLayout("axial", 1.0, 32, depth=8, thickness=1.0).of(volume)
    assert (slices.native_count, slices.count) == (12, 24)
    whole = slices.resampled(0, 24)[:, 0].mean((1, 2))
    assert (np.diff(whole) >= 0).all() and len(np.unique(whole)) > 20  # between the slices, too
    assert np.array_equal(whole[5:9], slices.resampled(5, 9)[:, 0].mean((1, 2)))  # whatever part is asked for
    labels = (np.arange(12)[:, None, None] >= 6).astype(np.uint8) * np.ones((1, 20, 20), np.uint8)
    found = slices.prepared_labels(labels, 10, 14)
    assert found[:, 10, 10].tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("size", [(30, 28, 12), (30, 28, 5), (30, 28, 19)])
def test_the_validation_counts_every_slice_once(tmp_path, size):
    bank, cohort = bank_of(tmp_path, size=size, unlabelled=0)
    shown = np.concatenate([places[places >= 0] for places in bank.places_at(bank.covering())])
    assert sorted(set(shown)) == list(range(len(bank)))

    class Knows(torch.nn.Module):
        """The truth, but for the last slice of each volume, where nothing is found."""

        def forward(self, images):
            answers = []
            for image in images:
                labels = next(
                    bank.labels_at(np.array([s]))
                    for s in range(len(bank))
                    if torch.equal(bank.images_at(np.array([s]))[0], image)
                )
                last = [
                    n
                    for n, plane in enumerate(image[0])
                    if any(torch.equal(plane, bank.images[e, 0].float() / 255) for e in ends)
                ]
                labels[0, last] = 0
                answers.append(torch.nn.functional.one_hot(labels.clamp_min(0), 3).movedim(-1, 1)[0])
            return torch.stack(answers).float()

    ends = [size[2] - 1, 2 * size[2] - 1]
    measured = run_to_end(validate(Knows(), bank, cohort.classes))
    wanted = []
    for case in range(2):
        truth = bank.drawn_at(np.flatnonzero(bank.case == case))
        amount, lost = int((truth == 2).sum()), int((truth[-1] == 2).sum())
        wanted.append(2 * (amount - lost) / (2 * amount - lost))
    assert measured["dice Core"] == pytest.approx(np.mean(wanted)) and measured["dice Core"] < 1


# -- training


def test_all_slices_of_a_patch_are_moved_and_changed_alike():
    generator = torch_generator(0, 1)
    patch = torch.rand(2, 1, 5, 24, 24, generator=generator)
    labels = (patch[:, 0] > 0.5).long()
    affine = Affine2d.random(torch_generator(0, 2), (24, 24), 2)
    moved, seen = affine.warp(patch, (1, 1)), affine.warp_labels(labels, (1, 1), outside=-1)
    for number in range(5):
        assert torch.equal(moved[:, :, number], affine.warp(patch[:, :, number], (1, 1)))
        assert torch.equal(seen[:, number], affine.warp_labels(labels[:, number], (1, 1), outside=-1))
    ranges = IntensityRanges(1.0, gamma=0.5, brightness=0.2, contrast=0.3, blur=1.0, noise=0.0, bias=0.3)
    alike = patch[:, :, :1].expand(-1, -1, 5, -1, -1)
    changed = change_intensities(alike, ranges, torch_generator(0, 3))
    assert torch.allclose(changed, changed[:, :, :1].expand_as(changed)) and not torch.allclose(
        changed, alike, atol=0.01
    )
    box = torch.zeros(2, 1, 24, 24, dtype=torch.bool)
    box[..., :10] = True
    assert torch.equal(mixed(patch, moved, box)[..., :10], moved[..., :10])
    assert torch.equal(mixed(labels, seen, box)[..., 10:], labels[..., 10:])


@pytest.mark.parametrize("changes", [{}, {"channel_dropout": True}, {"spatial_weight": 0.1}, {"streams": "models"}])
def test_drawn_and_other_patches_teach_a_3d_network(tmp_path, changes):
    bank, _ = bank_of(tmp_path)
    settings = dataclasses.replace(finetuning_preset("tiny"), trust=False, **changes)
    task = IdealFinetuning(3, settings, across=bank.layout.across(4), seed=1)
    batch = TwoStreamBatches(bank, 2, 1, seed=0)(0)
    assert batch["labelled"].shape == (2, 1, 8, 32, 32) and batch["unlabelled"].shape == (1, 1, 8, 32, 32)
    losses = task(batch, 0.5)
    sum(loss for name, loss in losses.items() if not name.startswith("_")).backward()
    assert losses["supervised"] > 0 and losses["unlabelled"].isfinite() and losses["_confident"] >= 0
    assert all(p.grad is not None for p in task.network.parameters())
    assert all(p.ndim == 5 for p in task.predictor().parameters() if p.ndim > 1)


# -- answers


@pytest.mark.parametrize("short_steps", [False, True])
@pytest.mark.parametrize(
    ("size", "spacing"),
    [((117, 90, 21), (1, 1, 1)), ((20, 22, 3), (1, 1, 1)), ((30, 30, 9), (1, 1, 2.5)), ((40, 40, 40), (1, 1, 0.4))],
)
def test_volumes_of_any_size_and_spacing_are_answered_by_overlapping_patches(size, spacing, short_steps):
    mask = np.zeros(size[::-1], bool)
    mask[size[2] // 2 :, 3:15, 5:17] = mask[: size[2] // 3, -8:-2, -9:-1] = True
    array = np.random.default_rng(0).integers(0, 60, mask.shape) + 900 * mask
    network = Bright()
    answer = run_to_end(
        segmenter_of(network, layouts=[PATCHES]).segment(
            Volume(array.astype(np.int16), np.diag((*spacing, 1.0))), short_steps=short_steps
        )
    )
    assert set(network.seen) == {(8, 32, 32)}  # whatever the volume
    if spacing[2] == 1:
        assert np.array_equal(answer.labels == 1, mask)
    else:  # resampled across the slices: right but for the slices at the ends
        wrong = ((answer.labels == 1) != mask).any((1, 2))
        ends = np.flatnonzero(np.diff(mask.any((1, 2)).astype(int)))
        assert all(min(abs(n - e) for e in (*ends, *(ends + 1))) <= 1 for n in np.flatnonzero(wrong))


def test_each_patch_is_looked_at_once_and_only_a_few_are_kept(monkeypatch):
    stacks, real, network, most = [], sliding_window.Stack.at, Bright(), 0

    def at(self, *arguments):
        stacks.append(self)
        return real(self, *arguments)

    monkeypatch.setattr(sliding_window.Stack, "at", at)
    volume = Volume(np.random.default_rng(0).integers(0, 900, (60, 24, 24)).astype(np.int16), np.eye(4))
    for _ in segmenter_of(network, layouts=[PATCHES]).segment(volume):
        most = max(most, len(stacks[-1]._kept) if stacks else 0)
    assert len(network.seen) == 14 and 1 <= most <= 3  # 60 slices in patches of 8 that overlap by half


def test_models_of_slices_and_of_patches_answer_together():
    volume, _ = phantom(0)
    flat = SliceLayout("axial", 1.0, 48)
    thick = dataclasses.replace(PATCHES, thickness=2.0, depth=4)
    members = Certain(0.5, 0.1, 0.4), Certain(0.1, 0.5, 0.4), Certain(0.2, 0.7, 0.1)
    answer = run_to_end(segmenter_of(*members, layouts=[PATCHES, flat, thick]).segment(volume, confidence=True))
    assert (answer.labels == 1).all() and np.allclose(answer.confidence, 1.3 / 3, atol=1e-3)


def test_a_kept_3d_model_answers_alike_in_short_steps_and_refuses_a_single_slice(tmp_path):
    model = load_ensemble(write_model(tmp_path / "model.pt", layout=PATCHES))
    assert model.members[0].layout == PATCHES
    volume, _ = phantom(3)
    answers = [run_to_end(ModelSegmenter(model, "cpu").segment(volume, short_steps=s)).labels for s in (False, True)]
    assert np.array_equal(*answers) and len(np.unique(answers[0])) == 3
    plain = Volume(volume.array[:1], volume.ijk_to_ras, "slice")
    with pytest.raises(
        InputError, match="is a 3D one, and image 'slice' is a single axial slice; give the whole volume"
    ):
        run_to_end(ModelSegmenter(model, "cpu").segment(plain))
    with pytest.raises(InputError, match="holds a 3D network, and few-shot shows one slice at a time"):
        load_encoder_file(tmp_path / "model.pt")


def test_the_answer_to_a_whole_volume_is_the_networks_own_where_one_patch_holds_it():
    network = seeded(lambda: TwoStreamUNet(3, 1, (8, 16), across=(2,)), 0).eval()
    volume = Volume(np.random.default_rng(1).integers(0, 900, (8, 32, 32)).astype(np.int16), np.diag((-1.0, -1, 1, 1)))
    answer = run_to_end(segmenter_of(network, layouts=[PATCHES]).segment(volume))
    slices = PATCHES.of(volume)
    with torch.no_grad():
        wanted = network(torch.from_numpy(slices.patch(0))[None]).argmax(1)[0].numpy()
    assert np.array_equal(slices.oriented(answer.labels), wanted)


def test_several_channels_are_seen_side_by_side_in_each_patch():
    layout = dataclasses.replace(PATCHES, channels=2)
    one, other = (phantom(n)[0] for n in (0, 1))
    patch = layout.of((one, other)).patch(3)
    assert patch.shape == (2, 8, 36, 40)
    assert np.array_equal(patch[1], PATCHES.of(other).patch(3)[0])


def test_the_colours_of_a_volume_are_channels_of_each_patch():
    grey, _ = phantom(0)
    array = np.repeat((grey.array // 4).astype(np.uint8)[..., None], 3, 3)
    array[..., 2] = 0
    patch = dataclasses.replace(PATCHES, colour=True).of(Volume(array, grey.ijk_to_ras)).patch(3)
    assert patch.shape == (3, 8, 36, 40)
    assert np.array_equal(patch[0], patch[1]) and np.ptp(patch[0]) > 0.1 and not patch[2].any()
