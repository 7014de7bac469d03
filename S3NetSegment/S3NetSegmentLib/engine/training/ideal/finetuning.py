"""Fine-tuning on few labelled and many unlabelled slices: two streams that teach each other.

Sources: Basak et al., "IDEAL", arXiv 2210.15075 (one encoder, two different decoders, cross pseudo supervision). For the
preset ``plus`` Yang et al., "UniMatch", arXiv 2208.09910 (weak view supervises strong view, CutMix, confidence); Bai et al.,
"Bidirectional Copy-Paste", arXiv 2305.00673 (labelled slices are mixed in); Tarvainen and Valpola, "Mean teacher", arXiv
1703.01780; Li et al., "AdaBN", arXiv 1603.04779 (normalisation by statistics of what is to be labelled). The authors of IDEAL
published no complete code and not all constants: this is the method in their spirit, not a copy of their program.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from ...common.affine2d import Affine2d, random_ranges
from ...common.arrays import two
from ...common.tensors import summed, torch_random_numbers
from ...nets.losses import (
    cross_pseudo_loss,
    dice_and_cross_entropy_loss,
    masked_cross_entropy,
    pseudo_labels,
    ramp,
    spatial_consistency_loss,
)
from ...nets.unet import CHANNELS, TwoStreamUNet, seeded
from ..slices.augmentation import STRONG, WEAK, change_intensities, mixed, random_boxes
from ..trainer.optimisation import TrainingTask, averaged_copy, measure_statistics, update_average
from .settings import FinetuningSettings

_STREAM = 1 << 60
_PIXELS = (1.0, 1.0)  # slices of a batch share one spacing, so lengths are in pixels
_SPATIAL_CONTRAST = 0.1
_OBSERVE_EVERY, _OBSERVED = 4, 4  # steps between two looks at the teacher, and of how many slices of each kind
_STATISTICS_SHARES = 0.3, 0.05  # by which such a look moves the teacher's normalisation, at the start and at the end
_DECAY = 0.9  # of the counts, with each observed batch
_LEAST, _ENOUGH = 0.4, 0.8  # Dice from which a class deserves some trust, and from which all


class IdealFinetuning(TrainingTask):
    """A two-stream U-Net with its losses.

    :param classes: number of classes, the background (label 0) included.
    :param across: of a 3D network, see :class:`~...nets.unet.UNetEncoder`; batches then hold patches, with an axis of slices before H:
        all slices of a patch are turned, scaled, moved and changed alike.
    :param encoder: weights of a pre-trained encoder, from :class:`~.pretraining.IdealPretraining`; random if None.
    :param decoders: weights of pre-trained decoders, from the same; random if None.
    :param seed: first weights follow from it.
    """

    updates: torch.Tensor

    def __init__(
        self,
        classes: int,
        settings: FinetuningSettings | None = None,
        *,
        in_channels: int = 1,
        across: Sequence[int] = (),
        encoder: Mapping[str, torch.Tensor] | None = None,
        decoders: Mapping[str, torch.Tensor] | None = None,
        seed: int = 0,
    ):
        super().__init__()
        self.settings = s = FinetuningSettings() if settings is None else settings
        self.network = seeded(
            lambda: TwoStreamUNet(
                classes,
                in_channels,
                CHANNELS[s.network],
                normalization=s.normalization,
                dropout=s.dropout,
                streams=s.streams,
                across=across,
            ),
            seed,
        )
        self._encoder_rate = 1.0
        if encoder is not None:
            self.network.load_encoder(encoder)
            self._encoder_rate = s.encoder_rate
        if decoders is not None:
            self.network.load_decoders(decoders)
        self.average = averaged_copy(self.network)
        self.trust = ClassTrust(classes)
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))
        self._updates: int | None = None  # the buffer's value, read from the device only when it is not known

    def forward(self, batch: Mapping, progress: float) -> dict[str, torch.Tensor]:
        """Losses by name, whose sum is to be minimised: "supervised"; with unlabelled slices "unlabelled", and "spatial" if
        it has a weight. "_confident" and "_trust" are measures: the share of pseudo-labels that count, and
        how far pseudo-labels of the background do.

        :param batch: "labelled" ``[N, C, H, W]``, 0 to 1, and "labels" ``[N, H, W]``, int64, -1 where unknown; if there are
            such, "unlabelled" ``[M, C, H, W]`` and "valid", bool ``[M, 1, H, W]``, False where they are padded; "seed",
            "step" and "rank" for the random numbers.
        :param progress: 0 at the start of the run, 1 at its end.
        """
        s = self.settings
        generator = self.random_numbers(batch, _STREAM)
        labelled, labels = self._moved(batch["labelled"], batch["labels"], int(batch["step"]), generator)
        seen = self._weakly_changed(labelled, generator)
        dropout_seed = int(torch.randint(2**62, (1,), generator=generator))
        if int(batch["step"]) % _OBSERVE_EVERY == 0:
            self._observe(batch, progress)
        with torch_random_numbers(dropout_seed, seen.device):
            count = self._unlabelled_slices(batch)
            if count:
                losses = self._semi_supervised(seen, labelled, labels, batch, count, generator, progress)
            else:
                losses = {"supervised": _supervised(self.network.streams(seen), labels)}
        if s.trust and s.unlabelled_weight > 0:
            losses["_trust"] = self.trust.weights()[0]
        return losses

    def after_step(self, progress: float) -> None:
        """Updates the moving average; in the first steps it is a plain mean, so that it forgets the random start."""
        if self._updates is None:
            self._updates = int(self.updates)
        self.updates.add_(1)
        self._updates += 1
        share = self._updates / (self._updates + 9)
        update_average(self.average, self.network, min(self.settings.average_decay, share), statistics=False)

    def parameter_groups(self) -> list[dict]:
        """The weights to train, with a factor of the learning rate for each group."""
        return [
            {"params": [p for e in self.network.encoders for p in e.parameters()], "rate": self._encoder_rate},
            {"params": list(self.network.decoders.parameters()), "rate": 1.0},
        ]

    def predictor(self) -> TwoStreamUNet:
        """The network with averaged weights, the one to evaluate and to keep."""
        return self.average

    def _load_from_state_dict(self, *arguments):
        super()._load_from_state_dict(*arguments)
        self._updates = None

    def _unlabelled_slices(self, batch) -> int:
        """How many of the unlabelled slices of ``batch`` are to be used."""
        s, there = self.settings, len(batch.get("unlabelled", ()))
        if not s.trust or s.spatial_weight > 0:
            return there if s.unlabelled_weight > 0 or s.spatial_weight > 0 else 0
        there = min(there, len(batch["labelled"]) - 1)
        return round(float(self.trust.weights()[0]) * there) if s.unlabelled_weight > 0 else 0

    def _semi_supervised(self, seen, labelled, labels, batch, count, generator, progress) -> dict[str, torch.Tensor]:
        """The losses with ``count`` unlabelled slices; ``seen`` are the ``labelled`` ones as the network sees them."""
        s = self.settings
        kept = max(1, len(seen) - count) if s.trust else len(seen)
        valid = batch.get("valid")
        if valid is None:
            valid = torch.ones_like(batch["unlabelled"][:, :1], dtype=torch.bool)
        images, known = batch["unlabelled"][:count], valid[:count, 0].long() - 1
        affine = self._affine(images, int(batch["step"]), generator)
        moved, targets = affine.warp(images, _PIXELS), None
        if s.views == "strong":
            targets = [_moved_target(affine, target) for target in self._beliefs(images, known)]
            shown, targets = self._strong_view(moved, targets, labelled, labels, generator)
        else:
            shown = self._weakly_changed(moved, generator)
            known = affine.warp_labels(known, _PIXELS, outside=-1)
        first, second = self._streams(torch.cat((seen[:kept], shown)), len(shown), generator)
        losses = {"supervised": _supervised((first[:kept], second[:kept]), labels[:kept])}
        first, second = first[kept:], second[kept:]
        if targets is None:
            targets = [self._judged(pseudo_labels(stream, s.threshold), known) for stream in (first, second)]
        loss = _confident_loss if s.pseudo_dice else masked_cross_entropy
        weight = s.unlabelled_weight * ramp(progress, s.ramp_share) * count / len(batch["unlabelled"])
        losses["unlabelled"] = weight * cross_pseudo_loss(first, second, targets[0], targets[1], loss)
        if s.spatial_weight > 0:
            mean = 0.5 * (first.float().softmax(1) + second.float().softmax(1))
            losses["spatial"] = s.spatial_weight * spatial_consistency_loss(mean, shown, _PIXELS, _SPATIAL_CONTRAST)
        losses["_confident"] = 0.5 * sum(mask.float().mean() for _, mask in targets)
        return losses

    def _moved(self, images, labels, step: int, generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Both under the same random affine transformations; labels become -1 where the slice ends."""
        affine = self._affine(images, step, generator)
        return affine.warp(images, _PIXELS), affine.warp_labels(labels, _PIXELS, outside=-1)

    def _weakly_changed(self, images, generator):
        return change_intensities(images, WEAK, generator) if self.settings.weak_intensities else images

    def _affine(self, images, step: int, generator) -> Affine2d:
        s = self.settings
        widened = s.rotation * min(1.0, (step + 1) / max(1, s.rotation_steps))
        ranges = random_ranges(s) | {"rotation": widened}
        return Affine2d.random(generator, images.shape[-2:], len(images), **ranges)

    @torch.no_grad()
    def _beliefs(self, images, known):
        """Pseudo-labels of both streams for ``images``, and what each pixel of them counts."""
        streams = self._answers(images)
        return [self._judged(pseudo_labels(stream, self.settings.threshold), known) for stream in streams]

    @torch.no_grad()
    def _observe(self, batch, progress: float) -> None:
        """Shows the teacher unchanged slices, for the statistics of its normalisation and to see what it finds."""
        images, labels = batch["labelled"][:_OBSERVED], batch["labels"][:_OBSERVED]
        count = len(images)
        if self.settings.unlabelled_weight > 0 and len(batch.get("unlabelled", ())):
            images = torch.cat((images, batch["unlabelled"][:_OBSERVED]))
        first, last = _STATISTICS_SHARES
        share = 1.0 if int(batch["step"]) == 0 else first + progress * (last - first)
        streams = measure_statistics(self.average, images, share)
        self.trust.observe(summed(stream[:count].float().softmax(1) for stream in streams).argmax(1), labels)

    def _answers(self, images):
        """Logits of both streams of the teacher, without dropout and with the statistics of past batches."""
        network = self.average if self.settings.teacher == "average" else self.network
        training = network.training
        network.eval()
        streams = [stream.float() for stream in network.streams(images)]
        network.train(training)
        return streams

    def _judged(self, target, known):
        """Pseudo-labels with -1 where the slice is padding, and what they count: as much as their class deserves trust."""
        labels, sure = target
        sure = (sure & (known >= 0)).float()
        if self.settings.trust:
            sure = sure * self.trust.weights()[labels]
        return torch.where(known >= 0, labels, -1), sure

    def _strong_view(self, weak, targets, labelled, labels, generator):
        """A strongly changed copy of ``weak`` with boxes of other slices, and the targets mixed with the same boxes."""
        s = self.settings
        strong = change_intensities(weak, STRONG, generator)
        if s.mix == "off":
            return strong, targets
        count = len(strong)
        boxes = random_boxes(count, strong.shape[-2:], generator, share=(0.1, max(0.1, s.box_share))).to(strong.device)
        partner = strong.roll(1, 0)
        choice = torch.randint(len(labelled), (count,), generator=generator).to(strong.device)
        from_labelled = (torch.rand(count, generator=generator) < 0.5).to(strong.device)
        if s.mix == "both":
            other = change_intensities(labelled[choice], STRONG, generator)
            partner = torch.where(_each(from_labelled, partner), other, partner)
        result = []
        for believed, sure in targets:
            believed_there, sure_there = believed.roll(1, 0), sure.roll(1, 0)
            if s.mix == "both":
                drawn = labels[choice]
                believed_there = torch.where(_each(from_labelled, drawn), drawn, believed_there)
                sure_there = torch.where(_each(from_labelled, drawn), drawn >= 0, sure_there)
            result.append((mixed(believed, believed_there, boxes), mixed(sure, sure_there, boxes)))
        return mixed(strong, partner, boxes), result

    def _streams(self, images, unlabelled: int, generator):
        """Logits of both streams; the last ``unlabelled`` images may lose half of the channels in each."""
        if not self.settings.channel_dropout:
            return self.network.streams(images)
        halves: tuple[list[torch.Tensor], list[torch.Tensor]] = ([], [])
        for first, second in zip(*self.network.maps(images), strict=True):
            kept = (torch.rand(unlabelled, first.shape[1], generator=generator) < 0.5).to(first)
            kept = torch.cat((first.new_full((len(images) - unlabelled, first.shape[1]), 0.5), kept))
            kept = kept[(..., *(None,) * (first.ndim - 2))]
            halves[0].append(2 * kept * first)
            halves[1].append(2 * (1 - kept) * second)
        return two(decoder(half) for decoder, half in zip(self.network.decoders, halves, strict=True))


def _supervised(streams, labels) -> torch.Tensor:
    return summed(dice_and_cross_entropy_loss(stream, labels) for stream in streams)


def _confident_loss(logits, labels, mask) -> torch.Tensor:
    """Dice and cross-entropy by sure pseudo-labels, weighed by the share of sure pixels."""
    share = mask.float().sum() / (labels >= 0).sum().clamp_min(1)
    return dice_and_cross_entropy_loss(logits, labels, mask) * share


def _each(values: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """``values`` ``[N]``, one for each of the N parts of ``like``."""
    return values.view(-1, *(1,) * (like.ndim - 1))


def _moved_target(affine: Affine2d, target):
    """Pseudo-labels and what they count under ``affine``; nothing where the slice ends."""
    labels, weights = target
    return affine.warp_labels(labels, _PIXELS, outside=-1), affine.warp(weights[:, None], _PIXELS, mode="nearest")[:, 0]


class ClassTrust(nn.Module):
    """A running Dice of each class on labelled slices, and what it says about answers on others.

    A network that does not find a class even where it was told of it gives no pseudo-label of that class, and takes its
    pixels for background: neither is to be learnt. Later the measure says little, as labelled slices become known by heart.

    :param classes: number of classes, the background (label 0) included.
    """

    overlap: torch.Tensor
    total: torch.Tensor

    def __init__(self, classes: int):
        super().__init__()
        self.register_buffer("overlap", torch.zeros(classes))
        self.register_buffer("total", torch.zeros(classes))

    @torch.no_grad()
    def observe(self, found: torch.Tensor, labels: torch.Tensor) -> None:
        """Counts in answers ``[N, H, W]`` to slices with ``labels`` ``[N, H, W]`` (both int64; negative labels do not count)."""
        count, known = len(self.total), labels >= 0
        found, labels = found[known], labels[known]
        ours, theirs = (torch.bincount(v, minlength=count) for v in (found, labels))
        both = torch.bincount(labels[found == labels], minlength=count)
        self.overlap.mul_(_DECAY).add_(2.0 * both)
        self.total.mul_(_DECAY).add_(ours + theirs)

    def dice(self) -> torch.Tensor:
        """``[classes]``, 0 for classes that were never seen."""
        return self.overlap / self.total.clamp_min(1e-6)

    def weights(self) -> torch.Tensor:
        """What a pseudo-label of each class counts, ``[classes]``, 0 to 1. The background counts as much as the class that is
        found worst among those seen, as it may hide that class; 0 before anything was observed."""
        each = ((self.dice() - _LEAST) / (_ENOUGH - _LEAST)).clamp(0.0, 1.0)
        seen = self.total[1:] > 0
        worst = torch.where(seen, each[1:], 1.0).min() * seen.any()
        return torch.cat((worst[None], each[1:]))
