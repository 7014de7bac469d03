"""One run of Few-shot in one frame: the voters, what they agree on, and the answer made of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from scipy import ndimage

from ...common.arrays import LimitedCache, two
from ...common.device import one_threaded
from ...common.progress import Step, Steps, as_part_of
from ...images.volume import slices_first
from ...segment.objects.candidates import small_parts
from ...segment.objects.sections import seen_in_sections
from ..answer import FewShotAnswer, SegmentOutlook, segment_outlook
from ..drawings.drawing import Drawing, SoftDrawing
from ..frame import GREY_STEPS, Box, Frame
from ..settings import FewShotSettings
from ..voters.appearance import Appearance
from ..voters.grown import Grown
from ..voters.propagated import Propagated
from ..voters.voter import Voter
from .decision import (
    COMPACT_MIXES,
    SCATTERED_MIXES,
    WEIGHING,
    Mix,
    Vote,
    arbitrated,
    doubt_of_carrying,
    further_share,
    keep_one_part,
    looks_scattered,
    mixed,
    normalised,
    prior_mix,
    side_with_grown,
    weighted_mix,
)
from .presence import FINDING_ENDS, MIDDLE, flat_classes, presence, reach

_TRUSTED = 0.7  # trust in a drawing elsewhere from which on one drawn slice here does not outweigh it
_TELLS_ENDS = 0.35  # its share of the vote from which on it also tells where segments end
UNDRAWN_SURE = (
    0.9  # probability above which a drawing in another volume seeds GrowCut where nothing is drawn in this one
)
_SLICES_A_STEP = 8
_ISLAND = 0.15  # of the largest part of a segment; smaller ones are no matter for a second look
_HIDDEN_SLICES = 6  # at most so many drawn slices are hidden in turn


def is_scattered(settings: FewShotSettings, drawing: Drawing) -> bool:
    """Whether nothing is carried; so it is, too, where all drawings are planes oblique to the slices."""
    if not drawing.slices:
        return True
    return settings.target == "scattered" or (settings.target == "auto" and drawing.sizes.scattered)


class Propagation:
    """One run: the voters in one frame and what they agree on.

    :param further: voters besides those of the drawn slices; at least one if nothing is drawn in this volume.
    """

    def __init__(
        self,
        frame: Frame,
        kept: LimitedCache,
        drawing: Drawing,
        settings: FewShotSettings,
        further: Sequence[Voter] = (),
    ):
        self.frame, self.drawing, self.settings = frame, drawing, settings
        self._kept, self._further = kept, further
        self.known = drawing.known_voxels(frame.box)
        self.drawn = SoftDrawing(frame, drawing, self.known, kept)
        self._appearance = Appearance(settings)
        self._carried, self._registered = Propagated(settings, self._appearance), Propagated(settings)
        self._grown = Grown(settings)
        self._voters = [self._carried, self._registered, self._appearance, self._grown, *further]
        # One drawn slice tells less than a whole drawing in a volume that fits: then that is the base of the vote.
        self._leaning = not self.known.any() or (len(self._whole_slices()) < 2 and self._trusts_other_volumes())
        self.scattered = is_scattered(settings, drawing) or self._leaning
        oblique = not drawing.slices and not self._leaning
        self.flat = flat_classes(self.known, frame.spacing, drawing.classes) if oblique else {}
        self.notes: list[str] = [note for voter in further for note in voter.notes]

    def run(self, first: int, last: int, quick: bool = False) -> Steps[None]:
        """Computes the answer for slices ``first`` to ``last``.

        :param quick: registration and GrowCut on the working grid vote with fixed weights; nothing is learned.
        """
        self.first, self.last = first, last
        if self.settings.method == "alpnet":
            vote = yield from as_part_of(self._prototype_vote(), 0.0, 0.9)
            yield from self._finish(vote)
            return
        if self._leaning:
            yield from as_part_of(self._seed_from_other_volumes(), 0.0, 0.05)
        if quick:
            vote = yield from as_part_of(self._quick_vote(), 0.0, 0.9)
        else:
            vote = yield from as_part_of(self._full_vote(), 0.0, 0.8)
            if self._regrow_weight() > 0.01:
                seeds = yield from as_part_of(vote.sure_voxels(self.settings.sure), 0.8, 0.85)
                again = yield from as_part_of(self._grown.fine(self.drawn, first, last, seeds), 0.85, 0.9)
                vote.add_second(again, self._regrow_weight())
            if not self.known.any():
                sums = yield from as_part_of(self._look_again(vote), 0.8, 0.9)
                yield from self._finish(vote, sums)
                return
        yield from self._finish(vote)

    def _look_again(self, vote: Vote) -> Steps[torch.Tensor]:
        """Shows the network of boxes the sections of what was found: a drawing of another patient has them about right, and their borders
        less so. Returns the sums of the vote before, by which the expected Dice was fitted."""
        classes, _, sums = yield from as_part_of(vote.decisions(), 0.0, 0.1)
        picture = self.frame.native[self.first : self.last + 1]
        found = [c for c in range(1, self.drawing.classes) if (classes == c).any()]
        for number, c in enumerate(found):
            mask = classes == c
            looking = seen_in_sections(mask, lambda place: picture[place][..., None] / np.float32(GREY_STEPS))
            begin, share = 0.1 + 0.9 * number / len(found), 0.9 / len(found)
            part, likely = yield from as_part_of(looking, begin, begin + share)
            likely[small_parts(mask[part], _ISLAND, corners=True)] = 1  # the network knows nothing of scattered spots
            vote.add_seen(c, part, likely)
        return sums

    def _finish(self, vote: Vote, sums: torch.Tensor | None = None) -> Steps[None]:
        """:param sums: by which the expected Dice goes; None: those of ``vote``."""
        self.classes, self.sureness, found = yield from as_part_of(vote.decisions(), 0.9, 1.0)
        self._sums = found if sums is None else sums
        if self.settings.largest_component:
            keep_one_part(self.classes, self.sureness, self._sums)
        self._keep_known()

    def _prototype_vote(self) -> Steps[Vote]:
        """The prototype scores alone, smoothed across the slices by ``slice_smoothing``."""
        (voter,) = self._further
        self.mix: Mix = {voter.name: 1.0}
        width = float(np.clip(self.settings.slice_smoothing / self.frame.spacing[0], 0, 1.5))
        halo = int(np.ceil(3 * width))
        low, high = max(0, self.first - halo), min(self.frame.depth - 1, self.last + halo)
        shares = (yield from voter.masks(self.drawn, low, high)).numpy()
        if width > 0.05:
            shares = ndimage.gaussian_filter1d(shares, width, 0, mode="nearest", truncate=3.0)
        soft = torch.from_numpy(shares[self.first - low : self.last - low + 1])
        ends = torch.ones(soft.shape[:2])
        return Vote(self.frame, self.first, self.last, soft, None, 0.0, 1.0, ends)

    def _full_vote(self) -> Steps[Vote]:
        first, last = self.first, self.last
        logs, _ = yield from as_part_of(self._appearance.evidence(self.drawn, first, last), 0.0, 0.2)
        self.mix = yield from as_part_of(self._weights(), 0.2, 0.5)
        carried = None
        if not self.scattered:
            carried = yield from as_part_of(self._carried.masks(self.drawn, first, last), 0.5, 0.6)
        grown = yield from as_part_of(self._grown.fine(self.drawn, first, last), 0.6, 0.9)
        ends = yield from as_part_of(self._ends(carried, lambda z: self._small(grown[z - first])), 0.9, 0.92)
        yield Step(0.92, FINDING_ENDS)
        if carried is not None and self.settings.target == "auto" and len(self._whole_slices()) < 2:
            doubt = self._doubt(logs[first : last + 1], carried, grown, ends)
            self.mix = self._with_further(arbitrated(prior_mix(False, self.frame.anisotropy), doubt), [])
            ends = ends ** (1 - doubt)  # which are judged by the carried masks
            yield Step(0.92, FINDING_ENDS)
        soft = yield from as_part_of(self._soft_shares(carried), 0.92, 1.0)
        self._appearance.forget()
        blur = float(np.clip(self.drawn.thickness / 3, 0.3, 1))
        share, near = self.mix.get("grown", 0.0), self._reach()
        return Vote(self.frame, first, last, soft, grown, share, blur, ends, near)

    def _reach(self) -> torch.Tensor | None:
        """How far segments may reach that are drawn on one plane oblique to the slices; None where there are none."""
        if self.flat:
            return reach(self.frame, self.known, self.drawing.classes, self.flat, self.first, self.last)
        return None

    def _doubt(self, logs, carried, grown, ends) -> float:
        """Without two drawn slices to compare, appearance decides between carried masks and GrowCut: doubt of the former."""
        counted = [
            n for n in range(len(grown)) if ends[n, 1:].max() > 0.3 and n + self.first not in self.drawing.slices
        ]
        if not counted:
            return 0.0
        small = torch.stack([self._small(grown[n]).argmax(0) for n in counted])
        return doubt_of_carrying(side_with_grown(logs[counted], carried[counted].argmax(1), small))

    def _trusts_other_volumes(self) -> bool:
        return any(voter.knows_places and voter.trust >= _TRUSTED for voter in self._further)

    def _whole_slices(self) -> list[int]:
        return [z for z, drawn in self.drawing.slices.items() if drawn.complete]

    def _quick_vote(self) -> Steps[Vote]:
        first, last = self.first, self.last
        prior = {"grown": 1.0} if self.scattered else {"registered": self.frame.anisotropy, "grown": 1.0}
        self.mix = self._with_further(normalised(prior), [])
        grown = yield from as_part_of(self._grown.masks(self.drawn, first, last), 0.0, 0.5)
        soft, carried = self.mix["grown"] * grown, None
        if not self.scattered:
            carried = yield from as_part_of(self._registered.masks(self.drawn, first, last), 0.5, 1.0)
            soft += self.mix["registered"] * carried
        soft = yield from self._added(soft, self._further)
        ends = yield from self._ends(carried, lambda z: grown[z - first])
        return Vote(self.frame, first, last, soft, None, 0.0, 1.0, ends, self._reach())

    def _weights(self) -> Steps[Mix]:
        prior = {"grown": 1.0} if self._leaning else prior_mix(self.scattered, self.frame.anisotropy)
        whole = self._whole_slices()
        if self.scattered or not self.settings.leave_one_out or len(whole) < 2:
            yield Step(1.0, WEIGHING)
            return self._with_further(normalised(prior), [])
        chosen = [whole[i] for i in np.unique(np.linspace(0, len(whole) - 1, _HIDDEN_SLICES).round().astype(int))]
        hidden = []
        for n, z in enumerate(chosen):
            work = self._hidden_slice(z)
            hidden.append((yield from as_part_of(work, n / len(chosen), (n + 1) / len(chosen))))
        return (yield from self._weighed(prior, hidden))

    @one_threaded  # many small operations
    def _weighed(self, prior: Mix, hidden: list) -> Steps[Mix]:
        """What predicts the hidden drawn slices best."""
        yield Step(1.0, WEIGHING)
        scattered = self.settings.target == "auto" and looks_scattered(hidden)
        mixes = (prior_mix(True, 1.0), SCATTERED_MIXES) if scattered else (prior, COMPACT_MIXES)
        mix = yield from weighted_mix(*mixes, hidden, self.settings.softness)
        yield Step(1.0, WEIGHING)
        return self._with_further(mix, hidden)

    def _with_further(self, mix: Mix, hidden: list) -> Mix:
        """``mix`` with the shares of the further parts."""
        for voter in self._further:
            prior = voter.undrawn_share if self._leaning else voter.prior_share
            mix = mixed(mix, voter.name, further_share(mix, voter.name, prior, hidden))
        return mix

    def _soft_shares(self, carried: torch.Tensor | None) -> Steps[torch.Tensor]:
        """The weighted sum of all voters but GrowCut, which votes at the image's own resolution: ``[n, C, h, w]``.

        :param carried: the masks of that voter; None: it has no say.
        """
        total = torch.zeros(self.last - self.first + 1, self.drawing.classes, *self.frame.work_shape)
        if carried is not None:
            total += self.mix.get("carried", 0) * carried
        return (yield from self._added(total, [self._registered, self._appearance, *self._further]))

    def _added(self, total: torch.Tensor, voters: Sequence[Voter]) -> Steps[torch.Tensor]:
        """``total`` and what ``voters`` say. Of a class that is drawn elsewhere only, who knows its place alone decides."""
        for voter in voters:
            if self.mix.get(voter.name, 0) > 0:
                total += self.mix[voter.name] * (yield from voter.masks(self.drawn, self.first, self.last))
            elif voter.knows_places and (undrawn := self._undrawn_classes()):
                masks = (yield from voter.masks(self.drawn, self.first, self.last))[:, undrawn]
                total *= 1 - masks.sum(1, keepdim=True)
                total[:, undrawn] += masks
        return total

    def _undrawn_classes(self) -> list[int]:
        """Classes of which nothing is drawn in this volume: only drawings elsewhere know of them."""
        return sorted(set(range(1, self.drawing.classes)) - set(np.unique(self.known[self.known > 0] - 1).tolist()))

    def _seed_from_other_volumes(self) -> Steps[None]:
        """What the first further voter is sure of seeds GrowCut and the appearance, besides what is known."""
        masks = yield from self._further[0].masks(self.drawn, 0, self.frame.depth - 1)
        seeds = np.zeros(self.known.shape, np.uint8)
        whole = two(slice(0, n) for n in self.frame.box.shape)
        for z in range(len(masks)):
            if z % _SLICES_A_STEP == 0:
                yield Step(1.0, "Laying the other drawing over")
            best, classes = self.frame.enlarged(masks[z : z + 1], whole)[0].max(0)
            seeds[z] = np.where((best > UNDRAWN_SURE).numpy(), classes.numpy() + 1, 0)
        np.copyto(seeds, self.known, where=self.known > 0)
        yield Step(1.0, "Laying the other drawing over")
        self.drawn = SoftDrawing(self.frame, self.drawing, seeds, self._kept)
        yield Step(1.0, "Laying the other drawing over")

    def _hidden_slice(self, z: int) -> Steps[tuple[dict, torch.Tensor]]:
        """What the voters say on drawn slice ``z`` when they do not see it, and what is drawn there."""
        found, count = {}, len(self._voters)
        for n, voter in enumerate(self._voters):
            work = voter.masks(self.drawn, z, z, without=z)
            found[voter.name] = (yield from as_part_of(work, n / count, (n + 1) / count))[0]
        return found, self.drawn.slices[z].masks.argmax(0)

    @one_threaded
    def _ends(self, carried: torch.Tensor | None, grown_on) -> Steps[torch.Tensor]:
        """Factor of each class on each slice, ``[n, C]``: how likely it still is there. ``grown_on(z)``: GrowCut's classes
        ``[C, h, w]`` on slice z of the working grid."""
        factors = torch.ones(self.last - self.first + 1, self.drawing.classes)
        drawn = list(self.drawing.slices)
        fits = any(v.knows_places and self.mix.get(v.name, 0) >= _TELLS_ENDS for v in self._further)
        if not drawn or carried is None or fits or self.settings.presence == 0:
            return factors
        share = self.frame.anisotropy / (1 + self.frame.anisotropy)
        for edge, outer in (
            (drawn[0], range(drawn[0] - 1, self.first - 1, -1)),
            (drawn[-1], range(drawn[-1] + 1, self.last + 1)),
        ):
            beyond = [z for z in outer if self.first <= z <= self.last]
            if not beyond:
                continue
            index = [z - self.first for z in beyond]
            yield Step(0.0, FINDING_ENDS)
            grown = torch.stack([grown_on(z) for z in beyond])
            start = self.drawn.slices[edge].masks
            found = yield from presence(self.frame, start, edge, beyond, carried[index], grown, share)
            factors[index] = found**self.settings.presence
        return factors

    def _small(self, labels: np.ndarray) -> torch.Tensor:
        """Classes ``[H, W]`` as masks ``[C, h, w]`` on the working grid."""
        return self.frame.shrunk_masks(np.stack([labels == c for c in range(self.drawing.classes)]))

    def _regrow_weight(self) -> float:
        """Of the second GrowCut: less on thick slices, none in scattered targets."""
        if self.scattered or self.mix.get("grown", 0) == 0:
            return 0.0
        return self.settings.regrow / self.frame.anisotropy**2

    def _keep_known(self) -> None:
        """What is known replaces what was decided, and does not count in what is expected."""
        known = self.known[self.first : self.last + 1]
        for n in np.flatnonzero(known.any((1, 2))):
            there = known[n] > 0
            if there.all():
                self._sums[n] = 0
            np.copyto(self.classes[n], known[n] - 1, where=there)
            self.sureness[n][there] = 1.0

    def wider_box(self) -> Box | None:
        """A larger box, where the answer reaches the border of this one and the slices go on beyond; else None."""
        found = self.classes > 0
        found[[z - self.first for z in self.drawing.slices if self.first <= z <= self.last]] = False
        return self.frame.box.grown_to(found, *slices_first(self.frame.volume.array, self.frame.axis).shape[1:3])

    def answer(self) -> FewShotAnswer:
        shape = self.frame.volume.array.shape[:3]
        labels, confidence = np.zeros(shape, np.uint8), np.ones(shape, np.float32)
        inside = (slice(self.first, self.last + 1), *self.frame.box.index)
        values = np.array(self.drawing.values, np.uint8)
        slices_first(labels, self.frame.axis)[inside] = values[self.classes]
        slices_first(confidence, self.frame.axis)[inside] = self.sureness
        for z, drawn in self.drawing.slices.items():  # also beyond the box
            plane = slices_first(labels, self.frame.axis)[z]
            np.copyto(plane, values[drawn.classes], where=drawn.known > 0)
        return FewShotAnswer([labels], confidence, self._outlook(), self.frame.axis, dict(self.mix), self.notes)

    def _outlook(self) -> dict[int, SegmentOutlook]:
        """What is to be expected of each segment."""
        sums, trust = self._sums.numpy(), min(voter.trust for voter in self._further) if self._leaning else 1.0
        found = {}
        for c, value in list(enumerate(self.drawing.values))[1:]:
            drawn = {
                z: True if (d.classes == c).any() else False if d.complete else None
                for z, d in self.drawing.slices.items()
            }
            cut = MIDDLE * self.flat[c] if c in self.flat else None
            one = segment_outlook(sums[:, :, c], self.first, drawn, self.frame.anisotropy, cut)
            most = min((v.most.get(int(value), 1.0) for v in self._further), default=1.0) if self._leaning else 1.0
            found[int(value)] = dataclasses.replace(one, dice=min(trust * one.dice, most))
        return found
