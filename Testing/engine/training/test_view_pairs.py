"""Two views of the same slices: exact correspondences, padding, places at the same height, drawn cells."""

import dataclasses

import pytest
import torch

from S3NetSegmentLib.engine.common.affine2d import Affine2d
from S3NetSegmentLib.engine.training.ideal.contrast import (
    View,
    correspondences,
    drawn_cells,
    near_on_slice,
    sample_cells,
)


def coordinate_ramp(height, width):
    """An image that shows at each pixel its own (row, column)."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack((rows, columns)).float()[None]


@pytest.mark.parametrize("stride", [1, 8])
def test_corresponding_cells_show_the_same_place_also_when_mirrored(stride):
    generator, size, count = torch.Generator().manual_seed(4), (64, 48), 12
    ranges = {"rotation": 30.0, "scaling": 0.25, "shear": 0.1, "shift": 0.15, "flip": True}
    affines = [Affine2d.random(generator, size, count, **ranges) for _ in range(2)]
    assert all((torch.tensor(a.matrix[:, :, :2]).det() < 0).any() for a in affines), "some are mirrored"
    ramp = coordinate_ramp(*size).expand(count, -1, -1, -1)
    cells, whole, views = [], [], []
    for affine in affines:
        warped = affine.warp(ramp, (1.0, 1.0))
        cells.append(torch.nn.functional.avg_pool2d(warped, stride))
        shown = affine.warp(torch.ones(count, 1, *size), (1.0, 1.0))
        whole.append(torch.nn.functional.avg_pool2d(shown, stride)[:, 0] > 1 - 1e-6)
        views.append(View(affine, warped, shown))
    places, shared = correspondences(*views, stride)
    height, width = whole[0].shape[1:]
    # away from the rim of the key view and of the image, the ramp is linear, so bilinear sampling is exact
    row, column = places.unbind(-1)
    shared = shared & (row >= 0) & (row <= height - 1) & (column >= 0) & (column <= width - 1)
    shared &= whole[0] & (sample_cells(whole[1][:, None].float(), places)[:, 0] > 1 - 1e-6)
    assert shared.float().mean() > 0.2
    error = (sample_cells(cells[1], places) - cells[0]).abs().amax(1)[shared]
    assert error.max() < 2e-4


def test_padding_is_neither_asked_nor_a_place_to_be_found():
    generator, count, size = torch.Generator().manual_seed(4), 6, (64, 64)
    affine = Affine2d.random(generator, size, count, rotation=20.0)
    everything = torch.ones(count, 1, *size)
    half = everything.clone()
    half[..., 32:] = 0
    query, key = View(Affine2d.identity(), everything, everything), View(affine, everything, half)
    places, shared = correspondences(query, key, 8)
    assert shared.any()
    assert (places[shared][:, 1] <= 3.5 + 1e-4).all()
    _, shared = correspondences(dataclasses.replace(query, shown=half), key, 8)
    assert shared.any()
    assert not shared[:, :, 4:].any()


def test_near_places_are_told_one_pair_at_a_time():
    """What each cell shows is read off a warped coordinate ramp, away from the rim where cells show a mixture."""
    generator, size, count, stride = torch.Generator().manual_seed(4), (64, 48), 3, 8
    ramp = coordinate_ramp(*size).expand(count, -1, -1, -1)
    views, shown = [], []
    for _ in range(2):
        affine = Affine2d.random(generator, size, count, rotation=20.0, scaling=0.1, shift=0.1)
        views.append(View(affine, ramp, affine.warp(torch.ones(count, 1, *size), (1.0, 1.0))))
        shown.append(torch.nn.functional.avg_pool2d(affine.warp(ramp, (1.0, 1.0)), stride))
    whole = [torch.nn.functional.avg_pool2d(view.shown, stride)[:, 0] > 1 - 1e-6 for view in views]
    cells = whole[1].flatten().nonzero()[:, 0][::5]
    found = near_on_slice(*views, stride, whole[0], cells, 1.5)
    places, there = shown[0].permute(0, 2, 3, 1)[whole[0]], shown[1].permute(0, 2, 3, 1).flatten(0, 2)[cells]
    assert found.any()
    assert not found.all()
    for q, place in enumerate(places.tolist()):
        for k, other in enumerate(there.tolist()):
            far = max(abs(place[0] - other[0]), abs(place[1] - other[1])) / stride
            if abs(far - 1.5) > 1e-3:
                assert bool(found[q, k]) is (far < 1.5)


def test_cells_are_drawn_without_replacement_and_up_to_the_limit():
    cells = torch.rand(3, 5, 7, generator=torch.Generator().manual_seed(1)) > 0.5
    for limit in (1, 10, int(cells.sum()), 1000):
        drawn = drawn_cells(cells, limit, torch.Generator().manual_seed(2))
        assert not (drawn & ~cells).any()
        assert drawn.sum() == min(limit, int(cells.sum()))
