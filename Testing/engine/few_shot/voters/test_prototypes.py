"""The prototype head beside a plain reference of the published maths, and on masks of every awkward kind."""

import math

import numpy as np
import pytest
import torch

from S3NetSegmentLib.engine import InputError
from S3NetSegmentLib.engine.common.tensors import area_average
from S3NetSegmentLib.engine.few_shot.voters.alpnet import PUBLISHED, HeadSettings, PrototypeHead, SupportSlice
from S3NetSegmentLib.engine.few_shot.voters.prototypes import choose_settings, left_out_dice


def gen(seed):
    return torch.Generator().manual_seed(seed)


def blob(h, w, row, column, radius):
    rows, columns = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    return ((rows - row) ** 2 + (columns - column) ** 2 <= radius**2).float()


def support_slice(seed=0, channels=16, h=16, w=16, blobs=((5, 5, 4),), signal=2.0):
    """Random features; each class has a direction of its own, the same in all slices."""
    masks = torch.stack([blob(h, w, *b) for b in blobs])
    coverage = torch.cat((1 - masks.amax(0, keepdim=True), masks))
    directions = torch.randn(8, channels, generator=gen(99))[: len(coverage)]
    features = torch.randn(channels, h, w, generator=gen(seed))
    return SupportSlice(features + signal * torch.einsum("khw,kc->chw", coverage, directions), coverage)


# ---- the published maths, one step at a time ----


def reference_scores(mode, features, masks, query, *, window, threshold, temperature=20.0):
    """One class by the formulas of the paper, with plain loops in float64: features ``[S, C, h, w]``, masks
    ``[S, h, w]``, query ``[C, h, w]``."""
    features, masks, query = (t.double().numpy() for t in (features, masks, query))
    shots, _, h, w = features.shape

    def unit(x):
        return x / max(np.linalg.norm(x), 1e-4)

    means = []
    for s in range(shots):
        total = sum(features[s, :, r, c] * masks[s, r, c] for r in range(h) for c in range(w))
        means.append(total / (masks[s].sum() + 1e-5))
    local = []
    for s in range(shots):
        for r in range(0, h - window + 1, window):
            for c in range(0, w - window + 1, window):
                if masks[s, r : r + window, c : c + window].mean() > threshold:
                    local.append(features[s, :, r : r + window, c : c + window].mean((1, 2)))
    if mode == "mask":
        prototypes = [np.mean(means, 0)]
    else:
        prototypes = local + (means if mode == "gridconv+" else [])
    scores = np.zeros((h, w))
    for r in range(h):
        for c in range(w):
            d = np.array([temperature * unit(query[:, r, c]) @ unit(p) for p in prototypes])
            weights = np.exp(d - d.max())
            scores[r, c] = (weights / weights.sum() * d).sum()
    return scores


@pytest.mark.parametrize("shots", [1, 3])
@pytest.mark.parametrize(("window", "threshold"), [(2, 0.95), (4, 0.95), (1, 0.5)])
@pytest.mark.parametrize("mode", ["mask", "gridconv", "gridconv+"])
def test_scores_equal_the_published_maths(mode, window, threshold, shots):
    support = [support_slice(seed, blobs=((6, 6 + seed, 5), (12, 12, 3))) for seed in range(shots)]
    query = support_slice(50).features
    settings = HeadSettings(
        mode, mode, window, threshold, 20.0, adaptive=False, fallback_window=None, most_prototypes=0
    )
    scores = PrototypeHead(support, settings).scores(query[None])[0]
    exact = [SupportSlice(s.features.double(), s.coverage.double()) for s in support]
    exact_scores = PrototypeHead(exact, settings).scores(query[None].double())[0]
    features = torch.stack([s.features for s in support])
    for c in range(3):
        masks = torch.stack([s.coverage[c] for s in support])
        if mode == "gridconv" and window == 4 and c == 2:
            continue  # no window is full: the published code fails here, see below
        expected = reference_scores(mode, features, masks, query, window=window, threshold=threshold)
        assert np.abs(scores[c].numpy() - expected).max() < 1e-5
        assert np.abs(exact_scores[c].numpy() - expected).max() < 1e-9


def test_with_the_published_fallback_a_class_without_a_full_wide_window_has_its_mean_only():
    support = [support_slice(0, blobs=((6, 6, 5), (12, 12, 2)))]
    query = support_slice(50).features
    scores = PrototypeHead(support, PUBLISHED).scores(query[None])[0].numpy()
    features = support[0].features[None]
    modes = {0: "gridconv", 1: "gridconv+", 2: "mask"}
    for c, mode in modes.items():
        expected = reference_scores(mode, features, support[0].coverage[c][None], query, window=2, threshold=0.95)
        assert np.abs(scores[c] - expected).max() < 1e-5
    other = PrototypeHead(
        support, HeadSettings(window=2, threshold=0.95, temperature=20.0, adaptive=False, most_prototypes=0)
    )
    assert np.abs(other.scores(query[None])[0, 2].numpy() - scores[2]).max() > 0.1


def test_one_call_for_many_queries_gives_each_its_own_scores():
    head = PrototypeHead([support_slice(0)])
    queries = torch.stack([support_slice(s).features for s in (1, 2)])
    both = head.scores(queries)
    assert torch.allclose(both[1], head.scores(queries[1:])[0], atol=1e-5)


def test_the_order_of_the_classes_only_orders_the_scores():
    one = support_slice(0, blobs=((5, 5, 3), (11, 11, 3)))
    query = support_slice(9).features[None]
    swapped = SupportSlice(one.features, one.coverage[[0, 2, 1]])
    a, b = (PrototypeHead([s]).scores(query) for s in (one, swapped))
    assert torch.allclose(a[:, [0, 2, 1]], b, atol=1e-5)


# ---- masks that made the published code fail ----


def coverage_of(kind, h=16, w=16):
    classes = torch.zeros(3, h, w)
    if kind == "one pixel":
        classes[1, 3, 4] = 0.01
    elif kind == "a thin line":
        classes[1, 7] = 0.2
    elif kind == "fills the slice":
        classes[1] = 1
    elif kind == "two classes, no background":
        classes[1, :8], classes[2, 8:] = 1, 1
    classes[0] = 1 - classes[1:].sum(0)
    if kind == "nothing known":
        classes[0] = 0
    return classes


KINDS = ["one pixel", "a thin line", "empty", "fills the slice", "two classes, no background", "nothing known"]


@pytest.mark.parametrize(
    "settings",
    [HeadSettings(), PUBLISHED, HeadSettings(window=4, weighting="similarity")],
    ids=["own", "published", "weighted"],
)
@pytest.mark.parametrize("kind", KINDS)
def test_no_mask_makes_the_head_fail(kind, settings):
    support = [SupportSlice(support_slice(0).features, coverage_of(kind))]
    scores = PrototypeHead(support, settings).scores(support_slice(1).features[None])
    assert scores.shape == (1, 3, 16, 16) and torch.isfinite(scores).all()
    assert scores.abs().max() <= settings.temperature * 1.0001


@pytest.mark.parametrize("settings", [HeadSettings(), PUBLISHED], ids=["own", "published"])
def test_a_class_that_no_slice_shows_is_never_the_answer(settings):
    support = [SupportSlice(support_slice(0).features, coverage_of("one pixel"))]
    answer = PrototypeHead(support, settings).scores(support_slice(1).features[None]).argmax(1)
    assert not (answer == 2).any()


def test_a_single_pixel_finds_the_same_pixel_again():
    base = support_slice(0, signal=0.0)
    coverage = torch.zeros(2, 16, 16)
    coverage[1, 3, 4] = 0.3
    coverage[0] = 1 - coverage[1]
    answer = PrototypeHead([SupportSlice(base.features, coverage)]).scores(base.features[None]).argmax(1)[0]
    assert (
        answer[3, 4] in (0, 1)
        and PrototypeHead([SupportSlice(base.features, coverage)]).scores(base.features[None])[0, 1, 3, 4] > 59
    )


def test_a_thin_structure_has_local_prototypes_of_its_own():
    coverage = coverage_of("a thin line")
    query = support_slice(1).features[None]
    drawn = SupportSlice(support_slice(0).features, coverage)
    head = PrototypeHead([drawn], HeadSettings(foreground="gridconv"))
    mean = PrototypeHead([drawn], HeadSettings(foreground="mask"))
    assert not torch.allclose(head.scores(query)[:, 1], mean.scores(query)[:, 1], atol=1)


def test_without_background_most_of_the_object_is_still_found_and_something_else_is_not():
    drawn = support_slice(0, blobs=((8, 8, 40),))
    assert float(drawn.coverage[0].sum()) == 0
    head = PrototypeHead([drawn])
    same, other = support_slice(5, blobs=((8, 8, 40),)), torch.randn(16, 16, 16, generator=gen(7)) - 3
    assert (head.scores(same.features[None]).argmax(1) == 1).float().mean() > 0.9
    assert (head.scores(other[None]).argmax(1) == 1).float().mean() < 0.1


# ---- options ----


def shares(head, features, distances=None):
    """The say of each support slice, recovered from a head in mode ``mask``."""
    combined = head.scores(features, distances)[0, 1].flatten()
    single = torch.stack(
        [
            head.only([s]).scores(features, None if distances is None else distances[:, [s]])[0, 1].flatten()
            for s in range(len(head.support))
        ]
    )
    return torch.linalg.lstsq(single.T.double(), combined.double()[:, None]).solution.flatten()


def likeness(support, query):
    """Mean over the cells of ``query`` of their best cosine to the mean of a class in the ``support``."""
    means = torch.stack([(support.features * c).sum((1, 2)) / c.sum() for c in support.coverage])
    cells = torch.nn.functional.normalize(query[0].flatten(1), dim=0)
    return (torch.nn.functional.normalize(means, dim=1) @ cells).amax(0).mean()


def test_similarity_gives_the_slice_that_explains_the_query_more_say():
    like, unlike = support_slice(0), support_slice(1, signal=0.0)
    query = (like.features + 0.1 * torch.randn(16, 16, 16, generator=gen(3)))[None]
    head = PrototypeHead([like, unlike], HeadSettings(foreground="mask", background="mask", weighting="similarity"))
    share = shares(head, query)
    similarity = torch.stack([likeness(one, query) for one in (like, unlike)])
    assert similarity[0] > similarity[1] + 0.1
    expected = torch.softmax(similarity / 0.07, 0)
    assert torch.allclose(share.float(), expected, atol=1e-3) and share[0] > 0.7


def test_distance_gives_the_near_slice_more_say():
    head = PrototypeHead(
        [support_slice(0), support_slice(1)], HeadSettings(foreground="mask", weighting="distance", reach_mm=10)
    )
    share = shares(head, support_slice(2).features[None], torch.tensor([[5.0, 15.0]]))
    assert torch.allclose(share, torch.tensor([math.e, 1.0], dtype=torch.double) / (1 + math.e), atol=1e-3)
    with pytest.raises(InputError, match=r"needs distances_mm \[1, 2\]"):
        head.scores(support_slice(2).features[None])


def test_a_class_that_only_one_slice_shows_is_scored_by_that_slice():
    first = SupportSlice(support_slice(0).features, coverage_of("empty"))
    second = SupportSlice(support_slice(1).features, coverage_of("a thin line"))
    query = support_slice(2).features[None]
    both = PrototypeHead([first, second], HeadSettings(weighting="similarity")).scores(query)
    alone = PrototypeHead([second], HeadSettings(weighting="similarity")).scores(query)
    assert torch.allclose(both[:, 1], alone[:, 1], atol=1e-4)


def test_the_neighbourhood_tells_twins_of_the_same_look_apart():
    h = w = 16
    masks = torch.stack([blob(h, w, 8, 4, 2), blob(h, w, 8, 11, 2)])
    coverage = torch.cat((1 - masks.amax(0, keepdim=True), masks))
    look = torch.randn(2, 16, generator=gen(1))
    features = torch.einsum("khw,kc->chw", torch.stack((coverage[0], masks.amax(0))), look)
    query = features + 0.05 * torch.randn(16, h, w, generator=gen(2))
    answers = {
        reach: PrototypeHead([SupportSlice(features, coverage)], HeadSettings(neighbourhood=reach))
        .scores(query[None])
        .argmax(1)[0]
        for reach in (0.0, 0.1)
    }
    truth = coverage.argmax(0)
    assert (answers[0.1] == truth).float().mean() > 0.99
    assert (answers[0.0] == truth)[truth > 0].float().mean() < 0.9


def test_joined_prototypes_score_nearly_like_all_of_them():
    looks = torch.nn.functional.normalize(torch.randn(6, 16, generator=gen(1)), dim=1)
    index = torch.randint(0, 3, (32, 32), generator=gen(2)) + 3 * (blob(32, 32, 16, 16, 8) > 0)
    features = looks[index].permute(2, 0, 1) + 0.02 * torch.randn(16, 32, 32, generator=gen(3))
    mask = blob(32, 32, 16, 16, 8)
    drawn = SupportSlice(features, torch.stack((1 - mask, mask)))
    everything, joined = (PrototypeHead([drawn], HeadSettings(most_prototypes=n)) for n in (0, 8))
    assert joined._bank.shape[0] < 20 < everything._bank.shape[0]
    a, b = (head.scores(features[None]) for head in (everything, joined))
    assert (a.argmax(1) == b.argmax(1)).float().mean() > 0.99


def test_a_redrawn_slice_changes_only_its_own_prototypes(monkeypatch):
    from S3NetSegmentLib.engine.few_shot.voters import alpnet

    slices = [support_slice(s) for s in range(3)]
    head = PrototypeHead(slices)
    changed = support_slice(1, blobs=((10, 10, 3),))
    made = []
    original = alpnet.prototypes_of
    monkeypatch.setattr(alpnet, "prototypes_of", lambda s, settings: made.append(s) or original(s, settings))
    again = head.replaced(1, changed)
    assert made == [changed]
    monkeypatch.undo()
    query = support_slice(9).features[None]
    assert torch.equal(again.scores(query), PrototypeHead([slices[0], changed, slices[2]]).scores(query))


def test_scores_have_a_gradient_to_query_and_support():
    drawn = support_slice(0)
    features = drawn.features.clone().requires_grad_()
    query = support_slice(1).features[None].clone().requires_grad_()
    PrototypeHead([SupportSlice(features, drawn.coverage)], PUBLISHED).scores(query)[:, 1].sum().backward()
    assert features.grad.abs().sum() > 0 and query.grad.abs().sum() > 0 and torch.isfinite(features.grad).all()


# ---- the choice of settings ----


def test_leave_one_slice_out_takes_the_better_window():
    def checked(seed):  # both classes have two opposite looks in turn, so that means over wider windows cancel
        mask = torch.zeros(16, 16)
        mask[:, 8:] = 1
        sign = 1 - 2 * (torch.arange(16)[:, None] + torch.arange(16)).remainder(2)
        coverage = torch.stack((1 - mask, mask))
        look = torch.randn(2, 16, generator=gen(1))
        features = sign * torch.einsum("khw,kc->chw", coverage, look)
        return SupportSlice(features + 0.3 * torch.randn(16, 16, 16, generator=gen(seed)), coverage)

    support = [checked(2), checked(3)]
    base = HeadSettings(window=4, adaptive=False, foreground="gridconv", background="gridconv")
    chosen = choose_settings(support, base)
    before, after = (np.mean(left_out_dice(PrototypeHead(support, s), s.temperature)) for s in (base, chosen))
    assert chosen.window == 1 and after > 0.95 > before


def test_leave_one_slice_out_gives_the_dice_of_the_prediction_from_the_others():
    slices = [support_slice(s, signal=1.0) for s in range(3)]
    expected = []
    for i in range(3):
        answer = (
            PrototypeHead([s for j, s in enumerate(slices) if j != i]).scores(slices[i].features[None]).argmax(1)[0]
            == 1
        )
        truth = slices[i].coverage[1] > 0.5
        expected.append(2 * float((answer & truth).sum()) / float(answer.sum() + truth.sum()))
    assert left_out_dice(PrototypeHead(slices), HeadSettings().temperature) == pytest.approx(expected)


def test_with_one_slice_or_no_shared_class_the_settings_stay():
    base = HeadSettings(window=2, temperature=33.0)
    assert choose_settings([support_slice(0)], base) == base
    empty = SupportSlice(support_slice(0).features, coverage_of("empty"))
    support = [empty, SupportSlice(support_slice(1).features, coverage_of("one pixel"))]
    assert choose_settings(support, base) == base
    assert left_out_dice(PrototypeHead(support, base), 33.0) == [None, None]


# ---- areas ----


@pytest.mark.parametrize(("size", "shape"), [((7, 10), (3, 4)), ((5, 5), (8, 3)), ((6, 6), (3, 3))])
def test_cells_hold_exact_area_means(size, shape):
    image = torch.rand(size, generator=gen(0))
    fine = image.repeat_interleave(shape[0], 0).repeat_interleave(shape[1], 1)
    expected = fine.unflatten(0, (shape[0], size[0])).unflatten(2, (shape[1], size[1])).mean((1, 3))
    assert torch.allclose(area_average(image, shape), expected, atol=1e-6)


def test_means_keep_the_area_of_every_class_however_small():
    labels = torch.zeros(100, 90)
    labels[50, 20], labels[10:40, 30:60] = 7, 3
    coverage = area_average(torch.stack([labels == value for value in (0, 3, 7)]), (18, 18))
    assert torch.allclose(coverage.sum(0), torch.ones(18, 18), atol=1e-5)
    assert (coverage.mean((1, 2)) * labels.numel()).tolist() == pytest.approx([8099, 900, 1], rel=1e-4)


# ---- bad input ----


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: PrototypeHead([]), "at least one slice"),
        (lambda: PrototypeHead([support_slice(0), support_slice(0, channels=8)]), "differ in channels"),
        (lambda: SupportSlice(torch.zeros(4, 3, 3), torch.zeros(2, 4, 4)), "on one grid"),
        (lambda: PrototypeHead([support_slice(0)]).scores(torch.zeros(1, 8, 4, 4)), r"\[N, 16, h, w\]"),
        (lambda: PrototypeHead([support_slice(0)]).replaced(0, support_slice(0, channels=8)), "other channels"),
        (lambda: HeadSettings(foreground="median"), "one of mask, gridconv"),
        (lambda: HeadSettings(window=0), "out of range"),
    ],
)  # fmt: skip
def test_bad_input_is_refused_with_the_reason(call, told):
    with pytest.raises(InputError, match=told):
        call()
