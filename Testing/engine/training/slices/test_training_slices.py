"""Slices: orientation there and back, the bank in memory and in a file, batches."""

import numpy as np
import pytest
import torch
from cohort_files import phantom, write_cohort
from image_files import random_matrix

from S3NetSegmentLib.engine import InputError, Volume, run_to_end
from S3NetSegmentLib.engine.images.writing import write_png
from S3NetSegmentLib.engine.training.cohort.folder import read_cohort
from S3NetSegmentLib.engine.training.preparation import choose_layout
from S3NetSegmentLib.engine.training.slices import bank as slice_bank
from S3NetSegmentLib.engine.training.slices.bank import build_bank
from S3NetSegmentLib.engine.training.slices.batches import EpochSampler, SliceBatches, TwoStreamBatches
from S3NetSegmentLib.engine.training.slices.layout import SliceLayout, orientation, plane_of


def reoriented(volume, order, flips):
    """The same image in space with its voxel axes permuted and flipped."""
    array = np.transpose(volume.array, [2 - order[2 - n] for n in range(3)])
    matrix = volume.ijk_to_ras[:, [*order, 3]].copy()
    for axis, flip in enumerate(flips):
        if flip:
            array = np.flip(array, 2 - axis)
            matrix[:3, 3] += matrix[:3, axis] * (array.shape[2 - axis] - 1)
            matrix[:3, axis] *= -1
    return Volume(np.ascontiguousarray(array), matrix, volume.name)


@pytest.mark.parametrize("seed", range(5))
def test_slices_are_the_same_however_the_image_is_stored(seed):
    rng = np.random.default_rng(seed)
    volume, _ = phantom(seed)
    layout = SliceLayout("axial", 1.3, 32)
    wanted = layout.of(volume).prepared(0, 6)
    stored = reoriented(volume, rng.permutation(3), rng.random(3) < 0.5)
    slices = layout.of(stored)
    assert slices.count == 6 and np.allclose(slices.prepared(0, 6), wanted, atol=1e-5)


def test_slices_show_left_to_the_right_posterior_down_and_run_upwards():
    array = np.zeros((3, 10, 12))
    array[2, 1, 2] = 1  # high, anterior... of a grid that runs left, posterior, superior
    volume = Volume(array, np.diag((-1.0, -1, 1, 1)))
    oriented = SliceLayout("axial", 1, 16).of(volume).oriented(array)
    assert np.array_equal(oriented, array)
    sagittal = SliceLayout("sagittal", 1, 16).of(volume).oriented(array)
    assert sagittal.shape == (12, 3, 10) and sagittal[12 - 1 - 2, 0, 1] == 1  # slices to the right; inferior down
    assert orientation(volume.ijk_to_ras) == ((0, 1, 2), (False, False, True))


@pytest.mark.parametrize("seed", range(4))
def test_probabilities_come_back_to_the_voxels_that_they_were_made_for(seed):
    rng = np.random.default_rng(seed)
    size = rng.integers(20, 40, 3)
    k, j, i = np.mgrid[: size[2], : size[1], : size[0]]
    middle = size / 2
    mask = ((i - middle[0]) / 8) ** 2 + ((j - middle[1]) / 7) ** 2 + ((k - middle[2]) / 8) ** 2 < 1
    matrix = random_matrix(rng)
    matrix[:3, :3] /= np.linalg.norm(matrix[:3, :3], axis=0)
    volume = Volume(mask.astype(np.float32), matrix @ np.diag((*rng.uniform(0.8, 1.4, 3), 1)))
    slices = SliceLayout(("axial", "coronal", "sagittal")[seed % 3], 0.9, 48).of(volume)
    labels = slices.prepared_labels(mask.astype(np.uint8), 0, slices.count)
    both = torch.nn.functional.one_hot(torch.from_numpy(labels).long(), 2).permute(0, 3, 1, 2).float()
    back = np.zeros(mask.shape, bool)
    top, left, height, width = slices.box
    shown = both[..., top : top + height, left : left + width]
    slices.oriented(back)[:] = (slices.restored(shown)[:, 1] > 0.5).numpy()
    assert 2 * (back & mask).sum() / (back.sum() + mask.sum()) > 0.93


def test_the_layout_fits_all_images_and_says_what_differs():
    small, _ = phantom(0)
    layout, notes = choose_layout([small, small])
    assert layout == SliceLayout("axial", 1.0, 48) and not notes
    fine, _ = phantom(0, size=(80, 80, 5), spacing=(0.5, 0.5, 4))
    layout, notes = choose_layout([small, small, fine, reoriented(small, (1, 0, 2), (True, False, False))])
    assert layout.spacing == 1.0 and "differ, 0.5 to 1 mm; all slices are resampled to 1 mm" in " ".join(notes)
    assert "2 different orientations" in " ".join(notes)
    layout, notes = choose_layout([small, fine], side=32)
    assert layout.side == 32 and layout.spacing == 1.25
    layout, notes = choose_layout([small], side=32, spacing=1.0)
    assert layout.side == 32 and "only the middle 32 are used" in notes[0]
    sagittal, _ = phantom(0, size=(6, 40, 40), spacing=(4, 1, 1))
    assert plane_of(sagittal) == "sagittal"
    _, notes = choose_layout([small, small, sagittal])
    assert notes[0].startswith("1 of 3 images were made in other than axial slices")
    cube, _ = phantom(0, size=(40, 40, 40), spacing=(1, 1, 1))
    assert choose_layout([sagittal, cube])[0].plane == "sagittal" and choose_layout([cube])[0].plane == "axial"
    assert not [n for n in choose_layout([small, cube])[1] if "slices" in n and "made" in n]
    with pytest.raises(InputError, match="plane is 'oblique'"):
        SliceLayout("oblique", 1, 32)


# ---- samplers ----


def test_every_item_comes_once_per_epoch_whatever_the_batch_and_the_processes():
    for processes in (1, 2):
        sampler = EpochSampler(10, 4, seed=3)
        seen = [sampler.items(s, r, processes) for s in range(10 // processes) for r in range(processes)]
        epochs = np.concatenate(seen)[:40].reshape(4, 10)
        assert all(sorted(e) == list(range(10)) for e in epochs)
        assert not np.array_equal(epochs[0], epochs[1])
    assert np.array_equal(EpochSampler(10, 4, 3).items(77), EpochSampler(10, 4, 3).items(77))
    two = [EpochSampler(10, 4, 3).items(5, r, 2) for r in (0, 1)]
    assert np.array_equal(np.concatenate(two), EpochSampler(10, 8, 3).items(5))
    assert not np.array_equal(EpochSampler(10, 8, 3).items(5), EpochSampler(10, 8, 4).items(5))


# ---- bank ----


@pytest.fixture
def cohort(tmp_path):
    return run_to_end(read_cohort(write_cohort(tmp_path, 2, 2)))


def bank_of(cohort, **options):
    layout, _ = choose_layout([c.grid for c in cohort.cases])
    return run_to_end(build_bank(cohort.cases, cohort.classes, layout, **options))


def test_the_bank_holds_all_slices_with_labels_places_and_padding(cohort):
    bank = bank_of(cohort)
    assert (
        len(bank) == 24 and bank.names == tuple(c.name for c in cohort.cases) and isinstance(bank.images, torch.Tensor)
    )
    assert list(bank.labelled) == list(range(12)) and list(bank.unlabelled) == list(range(12, 24))
    slices = np.array([14, 3])
    layout, _ = choose_layout([c.grid for c in cohort.cases])
    wanted = layout.of(cohort.cases[2].read_volume()).prepared(2, 3)
    assert torch.allclose(bank.images_at(slices)[0, 0], torch.from_numpy(wanted[0]), atol=0.5 / 255 + 1e-6)
    case, z = bank.cases_at(slices)
    assert case.tolist() == [2, 0] and z.tolist() == pytest.approx([0.4, 0.6])
    valid = bank.valid_at(slices)
    assert valid.shape == (2, 1, 48, 48) and valid.sum().item() == 2 * 40 * 36
    labels = bank.labels_at(slices[1:])
    assert labels.dtype == torch.int64 and set(labels.unique().tolist()) == {-1, 0, 1, 2}
    assert torch.equal(labels >= 0, valid[1])
    oriented = layout.of(cohort.cases[0].grid).oriented(phantom(0)[1])[3]
    assert torch.equal(labels[0, 6:42, 4:44], torch.from_numpy(np.ascontiguousarray(oriented)).long())


def test_slices_beyond_the_limit_are_streamed_from_a_file_and_are_the_same(cohort, tmp_path):
    whole, streamed = bank_of(cohort), bank_of(cohort, limit_bytes=10_000, folder=tmp_path)
    assert not isinstance(streamed.images, torch.Tensor) and "kept in a file" in streamed.notes[0]
    slices = np.array([23, 0, 7])
    assert torch.equal(whole.images_at(slices), streamed.images_at(slices))
    assert torch.equal(whole.labels_at(slices[1:]), streamed.labels_at(slices[1:]))
    assert whole.hashes == streamed.hashes and len(set(whole.hashes.values())) == 4
    assert not [p for p in tmp_path.iterdir() if p.is_file()]  # nothing is left behind, even by a killed process


def test_slices_for_which_the_device_has_no_room_stay_in_memory_and_are_the_same(cohort, monkeypatch):
    whole = bank_of(cohort)
    monkeypatch.setattr(slice_bank, "_room_on", lambda device: 10_000.0)
    brought = bank_of(cohort)
    assert not isinstance(brought.images, torch.Tensor) and "kept in the computer's memory" in brought.notes[0]
    slices = np.array([23, 0, 7])
    assert torch.equal(whole.images_at(slices), brought.images_at(slices))
    assert torch.equal(whole.labels_at(slices[1:]), brought.labels_at(slices[1:]))


def test_the_room_for_slices_is_a_part_of_the_free_memory_of_a_graphics_device(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000, 4000))
    assert slice_bank._room_on(torch.device("cuda", 0)) == pytest.approx(300)
    assert slice_bank._room_on(torch.device("cpu")) == float("inf")


def test_an_image_that_cannot_be_read_or_has_no_contrast_is_named_and_skipped_on_request(cohort, tmp_path):
    good = (tmp_path / "images" / "case01.nii.gz").read_bytes()
    (tmp_path / "images" / "case01.nii.gz").write_bytes(good[: len(good) // 2])
    with pytest.raises(InputError, match=r"case 'case01': .* --skip-bad"):
        bank_of(cohort)
    bank = bank_of(cohort, skip_bad=True)
    assert bank.names == ("case00", "case02", "case03") and len(bank) == 18 and "'case01' was left out" in bank.notes[0]
    assert len(bank.labelled) == 6 and bank.case.max() == 2
    assert bank.labels_at(bank.labelled).max() == 2


def test_batches_hold_what_the_tasks_expect(cohort):
    bank = bank_of(cohort)
    batch = TwoStreamBatches(bank, 3, 5, seed=1)(7, 1, 2)
    assert batch["labelled"].shape == (3, 1, 48, 48) and batch["labels"].shape == (3, 48, 48)
    assert batch["unlabelled"].shape == batch["valid"].shape == (5, 1, 48, 48) and batch["valid"].dtype == torch.bool
    assert set(batch["case"].tolist()) <= {0, 1} and set(batch["unlabelled_case"].tolist()) <= {2, 3}
    assert (batch["seed"], batch["step"], batch["rank"], batch["processes"]) == (1, 7, 1, 2)
    again = TwoStreamBatches(bank, 3, 5, seed=1)(7, 1, 2)
    assert all(torch.equal(batch[n], again[n]) for n in batch if isinstance(batch[n], torch.Tensor))
    assert "unlabelled" not in TwoStreamBatches(bank, 3, 0, seed=1)(0)
    single = SliceBatches(bank, 6, seed=1)(0)
    assert single["image"].shape == (6, 1, 48, 48) and 0 <= single["image"].min() and single["image"].max() <= 1


def test_without_unlabelled_cases_the_labelled_ones_serve_as_both_and_without_labels_it_says_so(cohort):
    layout, _ = choose_layout([c.grid for c in cohort.cases])
    drawn = run_to_end(build_bank(cohort.labelled, cohort.classes, layout))
    assert TwoStreamBatches(drawn, 2, 4, seed=0)(0)["unlabelled"].shape[0] == 4
    bare = run_to_end(build_bank(cohort.cases, (), layout))
    assert not bare.labelled.size
    with pytest.raises(InputError, match="no training case is labelled"):
        TwoStreamBatches(bare, 2, 4, seed=0)


def test_pictures_in_colour_are_used_by_their_lightness_which_is_said(tmp_path):
    rgb = np.zeros((1, 20, 24, 3), np.uint8)
    rgb[0, :, 12:] = (250, 240, 230)
    (tmp_path / "images").mkdir()
    write_png(rgb[0], tmp_path / "images" / "a.png")
    cohort = run_to_end(read_cohort(tmp_path))
    bank = bank_of(cohort)
    shown = bank.images_at(np.array([0]))[0, 0][bank.valid_at(np.array([0]))[0, 0]].reshape(20, 24)
    assert shown[:, :11].max() < 0.05 and shown[:, 13:].min() > 0.9
    assert bank.notes == ["there are images in colour; only their lightness is used"]
