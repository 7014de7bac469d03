"""ALPNet's self-supervised training: superpixels, views, episodes, losses, and going on after a stop."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from S3NetSegmentLib.engine import InputError, run_to_end
from S3NetSegmentLib.engine.nets.encoder import Encoder, add_lora
from S3NetSegmentLib.engine.nets.vit import VisionTransformer
from S3NetSegmentLib.engine.training.alpnet import (
    AlpnetSettings,
    AlpnetTask,
    EpisodeBatches,
    SuperpixelSlices,
    ViewRanges,
    alpnet_preset,
    body_mask,
    random_episodes,
    random_view,
    superpixels,
)
from S3NetSegmentLib.engine.training.settings import rate_factor
from S3NetSegmentLib.engine.training.trainer.run_folder import RunFolder
from S3NetSegmentLib.engine.training.trainer.trainer import Trainer

SMALL = AlpnetSettings(side=56, grid=16, prototype_grid=8, smallest_superpixel=2000)
STILL = ViewRanges(0, 0, 0, (1, 1), 0, 5, (1, 1))


def gen(seed):
    return torch.Generator().manual_seed(seed)


def slice_with_organs(seed=0, size=64):
    """A body on a black background with four organs of different grey and some noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] / size
    image = np.where((y - 0.5) ** 2 + (x - 0.5) ** 2 < 0.16, 0.4, 0.0)
    for cy, cx, grey in ((0.35, 0.35, 0.6), (0.35, 0.65, 0.8), (0.65, 0.4, 0.2), (0.65, 0.65, 1.0)):
        image[(y - cy) ** 2 + (x - cx) ** 2 < 0.012] = grey
    noisy = image + 0.02 * rng.standard_normal(image.shape) * (image > 0)
    return np.clip(noisy, 0, 1).astype(np.float32)


class Tiny(nn.Module):
    """A convolutional encoder of stride 4."""

    channels, strides, in_channels = (12,), (4,), 1

    def __init__(self, seed=0):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.net = nn.Sequential(
                nn.Conv2d(1, 12, 5, 2, 2), nn.GELU(), nn.Conv2d(12, 12, 3, 2, 1), nn.GELU(), nn.Conv2d(12, 12, 3, 1, 1)
            )

    def forward(self, image):
        return [self.net(image)]


# ---- superpixels ----


def test_superpixels_cover_the_body_and_nothing_else_and_are_numbered_without_gaps():
    image = slice_with_organs()
    labels = superpixels(image, smallest=800)
    assert set(np.unique(labels)) == set(range(labels.max() + 1)) and labels.max() >= 4
    body = body_mask(image, 0.0)
    assert not labels[~body].any() and (labels[body] > 0).mean() > 0.95


def test_superpixels_follow_the_organs():
    image = slice_with_organs()
    labels = superpixels(image, smallest=400, threshold=0.05)
    organ = image > 0.9
    inside, outside = (
        np.bincount(labels[organ], minlength=labels.max() + 1),
        np.bincount(labels[~organ], minlength=labels.max() + 1),
    )
    chosen = inside > outside
    chosen[0] = False
    assert 2 * inside[chosen].sum() / (inside[chosen].sum() + outside[chosen].sum() + organ.sum()) > 0.75


def test_the_smallest_superpixel_is_in_proportion_to_the_slice():
    counts = [superpixels(slice_with_organs(size=n), smallest=1500).max() for n in (64, 128)]
    assert abs(counts[0] - counts[1]) <= 0.6 * max(counts)
    assert superpixels(slice_with_organs(), smallest=300).max() > superpixels(slice_with_organs(), smallest=3000).max()


def test_the_body_is_the_largest_part_with_its_holes_filled():
    image = np.zeros((40, 40))
    image[5:30, 5:30] = 1
    image[10:12, 10:12] = 0
    image[35:38, 35:38] = 1
    body = body_mask(image, 0.5)
    assert body[10:12, 10:12].all() and body.sum() == 625
    assert not body_mask(np.zeros((9, 9)), 0.5).any()
    speck = np.zeros((40, 40))
    speck[3, 3] = 1
    assert not body_mask(speck, 0.5).any()


@pytest.mark.parametrize("image", [np.zeros((3, 3, 3)), np.full((8, 8), np.nan), np.zeros((0, 4))])
def test_superpixels_of_something_else_are_refused(image):
    with pytest.raises(InputError, match="finite grey values"):
        superpixels(image)


# ---- views and episodes ----


def test_a_view_without_any_change_is_the_slice_itself():
    image = torch.rand(1, 20, 30, generator=gen(0))
    mask = image[0] > 0.5
    view, seen = random_view(image, mask, STILL, gen(1))
    assert torch.allclose(view, image, atol=1e-5) and torch.equal(seen, mask)


@pytest.mark.parametrize(
    "ranges",
    [
        dataclasses.replace(STILL, rotation=20), dataclasses.replace(STILL, shear=20), dataclasses.replace(STILL, shift=30),
        dataclasses.replace(STILL, scale=(1.3, 1.3)), dataclasses.replace(STILL, elastic=60.0),
    ],
    ids=["rotation", "shear", "shift", "scale", "elastic"],
)  # fmt: skip
def test_image_and_mask_move_together(ranges):
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    image = torch.sigmoid((14 - ((x - 22) ** 2 + (y - 36) ** 2).sqrt()) * 2)[None]
    mask = image[0] > 0.5
    view, seen = random_view(image, mask, ranges, gen(3))
    moved = view[0] > 0.5
    assert (seen != mask).sum() > 20
    assert 2 * float((moved & seen).sum()) / float(moved.sum() + seen.sum()) > 0.97


def test_magnification_makes_objects_larger_and_gamma_keeps_the_range():
    image = torch.zeros(1, 64, 64)
    image[0, 24:40, 24:40] = 0.25
    image[0, 32, 32] = 1
    mask = image[0] > 0
    _, large = random_view(image, mask, dataclasses.replace(STILL, scale=(1.5, 1.5)), gen(0))
    assert float(large.sum()) / float(mask.sum()) == pytest.approx(2.25, rel=0.1)
    view, _ = random_view(image, mask, dataclasses.replace(STILL, gamma=(2, 2)), gen(0))
    assert float(view.max()) == pytest.approx(1) and float(view[0, 25, 25]) == pytest.approx(0.0625, abs=1e-4)


def test_episodes_show_one_superpixel_twice_and_follow_their_generator():
    slices = SuperpixelSlices([slice_with_organs(0), np.zeros((64, 64), np.float32)], smallest=1500)
    one, same, other = (random_episodes(slices, 3, STILL, 64, gen(s)) for s in (1, 1, 2))
    assert one["support_image"].shape == (3, 1, 64, 64) and one["query_mask"].dtype == torch.int64
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["support_mask"], other["support_mask"])
    _, labels = slices[0]
    for mask in one["support_mask"]:
        inside = labels[mask.bool().numpy()]
        assert inside.size and (inside == inside[0]).all() and inside[0] > 0  # never the outside, a whole superpixel
        assert inside.size == (labels == inside[0]).sum()


def test_all_superpixels_are_drawn_the_last_one_too():
    slices = SuperpixelSlices([slice_with_organs(0)], smallest=3000)
    _, labels = slices[0]
    masks = random_episodes(slices, 60, STILL, 64, gen(0))["support_mask"].bool().numpy()
    assert {int(labels[m][0]) for m in masks} == set(range(1, labels.max() + 1))


def test_slices_of_any_shape_become_squares():
    slices = SuperpixelSlices([slice_with_organs(0)[:, 10:50]], smallest=1500)
    episode = random_episodes(slices, 1, STILL, 56, gen(0))
    assert episode["query_image"].shape == (1, 1, 56, 56) and episode["query_mask"].any()


def test_slices_without_a_body_are_refused_with_the_remedy():
    slices = SuperpixelSlices([np.zeros((32, 32), np.float32)] * 2)
    with pytest.raises(InputError, match=r"none of the 2 slices.*body threshold"):
        random_episodes(slices, 1, STILL, 32, gen(0))
    with pytest.raises(InputError, match="no slice"):
        SuperpixelSlices([])


# ---- losses ----


def an_episode(seed=0, count=1, side=56):
    return random_episodes(
        SuperpixelSlices([slice_with_organs(seed)], smallest=2000), count, ViewRanges(), side, gen(seed)
    )


def test_losses_are_those_of_the_published_formulas():
    settings = dataclasses.replace(SMALL, threshold=0.5)
    task, batch = AlpnetTask(Tiny(), settings), an_episode()
    losses = task(batch)
    known, asked = (task.features(batch[f"{role}_image"])[0] for role in ("support", "query"))
    window = 2

    def scores(support, mask, query):
        """Both classes as in the paper: the background by its local prototypes, the object by local ones and its mean."""
        maps = []
        for share, with_mean in ((1 - mask, False), (mask, True)):
            pooled = nn.functional.avg_pool2d(support[None], window)[0].flatten(1).T
            full = nn.functional.avg_pool2d(share[None], window).flatten() > 0.5
            mean = (support * share).sum((1, 2)) / (share.sum() + 1e-5)
            if with_mean and not full.any():
                maps.append(20 * nn.functional.cosine_similarity(query, mean[:, None, None], 0))
                continue
            vectors = torch.cat((pooled[full], mean[None])) if with_mean else pooled[full]
            d = 20 * torch.einsum(
                "pc,chw->phw", nn.functional.normalize(vectors, dim=1), nn.functional.normalize(query, dim=0)
            )
            maps.append((d.softmax(0) * d).sum(0))
        return torch.stack(maps)

    def upsampled(maps):
        return nn.functional.interpolate(maps[None], (56, 56), mode="bilinear", align_corners=False)

    # 56 / 16 pixels per cell is not whole: area means of a finer copy
    fine = batch["support_mask"][0].float().repeat_interleave(16, 0).repeat_interleave(16, 1)
    share = fine.unflatten(0, (16, 56)).unflatten(2, (16, 56)).mean((1, 3))
    predicted = scores(known, share, asked)
    query = nn.functional.cross_entropy(upsampled(predicted), batch["query_mask"], torch.tensor([0.05, 1.0]))
    back = scores(asked, predicted.argmax(0).float(), known)
    alignment = nn.functional.cross_entropy(upsampled(back), batch["support_mask"])
    assert losses["query"].item() == pytest.approx(query.item(), rel=1e-4)
    assert losses["alignment"].item() == pytest.approx(alignment.item(), rel=1e-4)


def test_episodes_of_a_batch_are_averaged():
    task = AlpnetTask(Tiny(), SMALL)
    batch = an_episode(count=2)
    both = task(batch)
    each = [task({name: tensor[i : i + 1] for name, tensor in batch.items()}) for i in range(2)]
    for name in both:
        assert both[name].item() == pytest.approx((each[0][name] + each[1][name]).item() / 2, rel=1e-4)


@pytest.mark.parametrize("fill", [0, 1])
def test_degenerate_masks_give_finite_losses_and_gradients(fill):
    encoder = Tiny()
    batch = an_episode()
    batch["support_mask"] = torch.full_like(batch["support_mask"], fill)
    loss = sum(AlpnetTask(encoder, SMALL)(batch).values())
    loss.backward()
    assert torch.isfinite(loss) and all(torch.isfinite(p.grad).all() for p in encoder.parameters())


def test_features_finer_than_the_grid_are_averaged_and_coarser_ones_enlarged():
    images = torch.rand(1, 1, 56, 56, generator=gen(0))
    assert AlpnetTask(Tiny(), dataclasses.replace(SMALL, grid=8)).features(images).shape == (1, 12, 8, 8)
    assert AlpnetTask(Tiny(), dataclasses.replace(SMALL, grid=32)).features(images).shape == (1, 12, 32, 32)


# ---- training ----


def alpnet_trainer(encoder, slices, settings=SMALL, folder=None, steps=6):
    """A trainer of ``encoder``; ``folder`` is a path."""
    trainer = dataclasses.replace(alpnet_preset("default")[1], steps=steps, learning_rate=1e-3)
    run = None if folder is None else RunFolder(folder)
    identity = dataclasses.asdict(settings)
    return Trainer(
        AlpnetTask(encoder, settings), EpisodeBatches(slices, settings, 0), trainer, folder=run, identity=identity
    )


def test_training_lowers_the_loss_on_episodes_that_it_has_not_seen():
    encoder = Tiny()
    fresh = an_episode(seed=50, count=8)

    def loss():
        with torch.no_grad():
            return float(sum(AlpnetTask(encoder, SMALL)(fresh).values()))

    before = loss()
    steps = []
    result = run_to_end(
        alpnet_trainer(encoder, [slice_with_organs(s) for s in range(3)], steps=120).run(), steps.append
    )
    assert loss() < 0.8 * before
    assert result.steps == 120 and steps[-1].fraction == 1.0


def test_a_stopped_training_goes_on_to_the_same_weights(tmp_path):
    slices = [slice_with_organs(0)]
    whole = Tiny()
    run_to_end(alpnet_trainer(whole, slices).run())
    steps = alpnet_trainer(Tiny(), slices, folder=tmp_path).run()
    for _ in range(4):
        next(steps)
    steps.close()
    again = Tiny(seed=7)
    trainer = alpnet_trainer(again, slices, folder=tmp_path)
    assert trainer.resume() and trainer.step == 4
    assert run_to_end(trainer.run()).steps == 6
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), again.parameters(), strict=True))


def test_only_lora_adapters_are_trained_and_kept_where_the_encoder_is_frozen(tmp_path):
    encoder = VisionTransformer(24, 1, 2, 48).initialize(gen(0))
    frozen = {name: p.clone() for name, p in encoder.named_parameters()}

    class Grey(Encoder):
        def __init__(self):
            super().__init__()
            self.inner = encoder

        def forward(self, image):
            return self.inner(image.expand(-1, 3, -1, -1))

    add_lora(encoder, 2, gen(1))
    before = {n: p.detach().clone() for n, p in encoder.named_parameters() if p.requires_grad}
    run_to_end(alpnet_trainer(Grey(), [slice_with_organs(0)], folder=tmp_path).run())
    after = dict(encoder.named_parameters())
    assert len(before) == len([n for n in after if n.endswith((".down", ".up"))])
    assert any(not torch.equal(before[name], after[name]) for name in before)
    assert all(
        torch.equal(p, frozen[n.replace(".base", "")]) for n, p in encoder.named_parameters() if not p.requires_grad
    )
    assert set(RunFolder(tmp_path).read_state()["task"]) == {f"encoder.inner.{name}" for name in before}


def test_a_state_of_another_training_is_refused(tmp_path):
    slices = [slice_with_organs(0)]
    run_to_end(alpnet_trainer(Tiny(), slices, folder=tmp_path, steps=1).run())
    with pytest.raises(InputError, match=r"other settings \(temperature was 20.0, is 30.0"):
        alpnet_trainer(Tiny(), slices, dataclasses.replace(SMALL, temperature=30.0), tmp_path, 1).resume()
    with pytest.raises(InputError, match="another network"):
        alpnet_trainer(nn.Sequential(nn.Conv2d(1, 4, 3)), slices, folder=tmp_path, steps=1).resume()


def test_an_encoder_without_anything_to_train_is_refused():
    with pytest.raises(InputError, match="thaw it or put LoRA"):
        alpnet_trainer(Tiny().requires_grad_(False), [slice_with_organs(0)])


def test_the_global_random_numbers_are_left_alone():
    state = torch.get_rng_state()
    run_to_end(alpnet_trainer(Tiny(), [slice_with_organs(0)], steps=1).run())
    assert torch.equal(state, torch.get_rng_state())


def test_the_learning_rate_falls_by_a_twentieth_every_thousand_steps():
    trainer = alpnet_preset("paper")[1]
    assert [rate_factor(trainer, n, trainer.steps) for n in (0, 999, 1000, 2500)] == pytest.approx(
        [1, 1, 0.95, 0.95**2]
    )


def test_the_paper_preset_holds_the_published_settings():
    paper, trainer = alpnet_preset("paper")
    assert (trainer.steps, trainer.optimizer, trainer.learning_rate, trainer.weight_decay) == (
        100_100,
        "sgd",
        1e-3,
        5e-4,
    )
    assert (trainer.decay, trainer.decay_steps) == (0.95, 1000)
    assert (paper.background_weight, paper.alignment_weight) == (0.05, 1.0)
    head = AlpnetTask(Tiny(), paper).head
    assert (head.window, head.fallback_window, head.threshold, head.temperature) == (4, 4, 0.95, 20.0)
    assert (head.foreground, head.background, head.adaptive) == ("gridconv+", "gridconv", False)
    ranges = ViewRanges()
    assert (ranges.rotation, ranges.shear, ranges.shift, ranges.scale) == (5, 5, 5, (0.9, 1.2))
    assert (ranges.elastic, ranges.elastic_sigma, ranges.gamma) == (10, 5, (0.5, 1.5))
    with pytest.raises(InputError, match="default or paper"):
        alpnet_preset("fast")
    with pytest.raises(InputError, match="prototype_grid"):
        AlpnetSettings(grid=8, prototype_grid=16)
