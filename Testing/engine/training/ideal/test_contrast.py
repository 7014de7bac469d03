"""Dense InfoNCE against a naive double loop and a closed form."""

import math

import pytest
import torch

from S3NetSegmentLib.engine.training.ideal.contrast import dense_info_nce, image_info_nce, nearest_cells, sample_cells


def features(seed, count=2, width=5, channels=6):
    return torch.randn(count, channels, 4, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def identity_positions(count, height, width):
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack((rows, columns), -1).float().expand(count, height, width, 2)


def bilinear(image, row, column):
    """One value per channel of ``image`` ``[D, h, w]``, in plain Python."""
    height, width = image.shape[1:]
    row, column = min(max(row, 0), height - 1), min(max(column, 0), width - 1)
    r, c = min(int(row), height - 2), min(int(column), width - 2)
    a, b = row - r, column - c
    top = (1 - b) * image[:, r, c] + b * image[:, r, c + 1]
    bottom = (1 - b) * image[:, r + 1, c] + b * image[:, r + 1, c + 1]
    return (1 - a) * top + a * bottom


def double_loop(queries, keys, positions, chosen, temperature, neighbourhood, key_valid):
    """The definition, one query and one key at a time."""
    q, k = (x / x.norm(dim=1, keepdim=True) for x in (queries, keys))
    count, _, height, width = q.shape
    losses = []
    for n, r, c in chosen.nonzero().tolist():
        row, column = positions[n, r, c].tolist()
        p = bilinear(k[n], row, column)
        positive = math.exp(float(q[n, :, r, c] @ (p / p.norm())) / temperature)
        total = positive
        for m in range(count):
            for i in range(height):
                for j in range(width):
                    near = m == n and abs(i - row) <= neighbourhood and abs(j - column) <= neighbourhood
                    if key_valid[m, i, j] and not near:
                        total += math.exp(float(q[n, :, r, c] @ k[m, :, i, j]) / temperature)
        losses.append(-math.log(positive / total))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("neighbourhood", [-1.0, 0.6, 1.5, 9.0])
@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_the_loss_equals_a_naive_double_loop(neighbourhood, temperature):
    generator = torch.Generator().manual_seed(3)
    queries, keys = features(1), features(2)
    positions = torch.rand(2, 4, 5, 2, generator=generator) * torch.tensor([3.0, 4.0])
    chosen, key_valid = (torch.rand(2, 4, 5, generator=generator) > 0.3 for _ in range(2))
    found = dense_info_nce(
        queries,
        keys,
        positions,
        chosen,
        temperature=temperature,
        neighbourhood=neighbourhood,
        key_valid=key_valid,
    )
    expected = double_loop(queries, keys, positions, chosen, temperature, neighbourhood, key_valid)
    assert found.loss.item() == pytest.approx(expected, abs=1e-5)


def test_orthogonal_cells_give_the_closed_form():
    cells, t = 12, 0.2
    maps = torch.eye(cells).view(1, cells, 3, 4)
    everywhere = torch.ones(1, 3, 4, dtype=torch.bool)
    found = dense_info_nce(maps, maps, identity_positions(1, 3, 4), everywhere, temperature=t, neighbourhood=0.5)
    assert found.loss.item() == pytest.approx(math.log(1 + (cells - 1) * math.exp(-1 / t)), abs=1e-6)
    assert found.positive_cosine == pytest.approx(1)
    assert found.negative_cosine == pytest.approx(0, abs=1e-6)


def test_only_the_chosen_queries_get_a_gradient():
    queries, keys = features(1).requires_grad_(), features(2).requires_grad_()
    chosen = torch.zeros(2, 4, 5, dtype=torch.bool)
    chosen[0, 1] = True
    dense_info_nce(queries, keys, identity_positions(2, 4, 5), chosen).loss.backward()
    assert keys.grad is None
    assert queries.grad[0, :, 1].abs().min() > 0
    assert queries.grad[0, :, 2:].abs().max() == queries.grad[1].abs().max() == 0


def test_padding_keys_and_excluded_keys_do_not_matter():
    queries, keys, other = features(1), features(2), features(2)
    other[1, :, :, 3:] = features(9)[1, :, :, 3:]
    positions, chosen = identity_positions(2, 4, 5), torch.zeros(2, 4, 5, dtype=torch.bool)
    chosen[0] = True
    ignored = torch.zeros(2, 4, 5, dtype=torch.bool)
    ignored[1, :, 3:] = True

    def loss(k, **options):
        return dense_info_nce(queries, k, positions, chosen, **options).loss.item()

    assert loss(keys) != loss(other)
    assert loss(keys, key_valid=~ignored) == loss(other, key_valid=~ignored)
    excluded = ignored.flatten().expand(int(chosen.sum()), -1)
    assert loss(keys, excluded=excluded) == loss(keys, key_valid=~ignored)


def test_half_precision_features_are_compared_in_float32():
    queries, keys = features(1).bfloat16(), features(2).bfloat16()
    chosen = torch.ones(2, 4, 5, dtype=torch.bool)
    with torch.autocast("cpu", torch.bfloat16):
        half = dense_info_nce(queries, keys, identity_positions(2, 4, 5), chosen).loss
    full = dense_info_nce(queries.float(), keys.float(), identity_positions(2, 4, 5), chosen).loss
    assert half.dtype == torch.float32
    assert torch.equal(half, full)


def test_no_chosen_cell_costs_nothing():
    queries = features(1).requires_grad_()
    nothing = torch.zeros(2, 4, 5, dtype=torch.bool)
    loss = dense_info_nce(queries, features(2), identity_positions(2, 4, 5), nothing).loss
    loss.backward()
    assert loss == 0
    assert queries.grad.abs().max() == 0


def test_the_nearest_cell_is_the_one_with_the_same_features():
    keys = torch.eye(20).view(1, 20, 4, 5)
    shuffled = torch.randperm(20, generator=torch.Generator().manual_seed(0))
    queries = torch.eye(20)[shuffled].T.reshape(1, 20, 4, 5)
    everywhere = torch.ones(1, 4, 5, dtype=torch.bool)
    found = nearest_cells(queries, keys, everywhere)[0].reshape(-1, 2)
    assert torch.equal(found, torch.stack((shuffled // 5, shuffled % 5), 1).float())
    assert torch.allclose(sample_cells(keys, found.view(1, 4, 5, 2)), queries)


def test_only_what_is_asked_is_looked_for_and_only_where_keys_are_valid():
    keys = features(1, count=3)
    asked = torch.zeros(3, 4, 5, dtype=torch.bool)
    asked[0, 1, 2] = asked[2, 3, 4] = True
    valid = torch.ones_like(asked)
    valid[2, 3, 4] = False
    found = nearest_cells(keys, keys, asked, valid)
    assert found[0, 1, 2].tolist() == [1, 2]
    assert found[2, 3, 4].tolist() != [3, 4]
    assert (found[~asked] == 0).all()


def test_negatives_can_be_drawn():
    """Drawn key cells are the only negatives: the same as all others being invalid."""
    queries, keys = features(1), features(2)
    chosen = torch.rand(2, 4, 5, generator=torch.Generator().manual_seed(1)) > 0.5
    drawn = torch.tensor([39, 3, 20, 21, 11, 7])
    valid = torch.zeros(40, dtype=torch.bool)
    valid[drawn] = True
    excluded = torch.rand(int(chosen.sum()), 40, generator=torch.Generator().manual_seed(2)) > 0.7
    positions = identity_positions(2, 4, 5)
    few = dense_info_nce(queries, keys, positions, chosen, drawn=drawn, excluded=excluded[:, drawn])
    masked = dense_info_nce(queries, keys, positions, chosen, key_valid=valid.view(2, 4, 5), excluded=excluded)
    assert few.loss.item() == pytest.approx(masked.loss.item(), abs=1e-6)
    assert few.negative_cosine.item() == pytest.approx(masked.negative_cosine.item(), abs=1e-6)
    everything = dense_info_nce(queries, keys, positions, chosen, drawn=torch.arange(40).flip(0))
    assert everything.loss.item() == pytest.approx(
        dense_info_nce(queries, keys, positions, chosen).loss.item(), abs=1e-6
    )


def test_the_contrast_of_whole_images_equals_a_naive_loop():
    queries, keys = (torch.randn(5, 7, generator=torch.Generator().manual_seed(s)) for s in (1, 2))
    excluded = torch.zeros(5, 5, dtype=torch.bool)
    excluded[0, 3] = excluded[4, 1] = True
    q, k = (x / x.norm(dim=1, keepdim=True) for x in (queries, keys))
    losses = []
    for i in range(5):
        positive = math.exp(float(q[i] @ k[i]) / 0.3)
        others = [math.exp(float(q[i] @ k[j]) / 0.3) for j in range(5) if j != i and not excluded[i, j]]
        losses.append(-math.log(positive / (positive + sum(others))))
    found = image_info_nce(queries, keys, temperature=0.3, excluded=excluded)
    assert found.loss.item() == pytest.approx(sum(losses) / 5, abs=1e-6)
    assert found.positive_cosine.item() == pytest.approx(float((q * k).sum(1).mean()), abs=1e-6)
