"""Few-shot: a drawing on one or a few slices becomes the segments of the whole volume.

Drawn masks are carried from slice to slice by registration, corrected by appearance, and vote with GrowCut; from two drawn
slices on the vote is weighted by how well each voter predicts a drawn slice that is hidden from it, with a single one by
which of them appearance agrees with where they differ. Scattered targets are not carried. Drawings in other volumes and the
prototypes of a pretrained encoder are further voters; once slices are drawn here, other volumes have a say only as
far as they would have foretold them.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np

from ..common.arrays import LimitedCache, two
from ..common.device import choose_device
from ..common.errors import InputError, ResourceError
from ..common.progress import Step, Steps, as_part_of, monotonic
from ..images import AXES, Volume
from ..images.image_warnings import label_map_notes
from ..images.intensity import intensity_scale
from ..images.volume import slices_first
from .answer import FewShotAnswer, drawn_answer, united
from .carrying_on import Cut, carried_on, cut_off, limited, slices_to_carry
from .drawings.drawing import Drawing, LayeredSupport, SupportLayer
from .drawings.support import DrawnPlane, DrawnSlice, SupportVolume
from .frame import Box, Frame, drawn_box, work_shape
from .settings import FewShotSettings
from .vote.propagation import Propagation, is_scattered
from .voters.encoders import FewShotEncoder, load_encoder
from .voters.making import VoterMaker
from .voters.voter import Voter

_KEPT_BYTES = 300_000_000  # of what the voters of a region need again
_FRAMES = 2  # regions of the volume whose features and registration are kept

__all__ = [
    "DrawnPlane", "DrawnSlice", "FewShot", "FewShotAnswer", "FewShotEncoder", "FewShotSettings", "SupportVolume",
    "load_encoder",
]  # fmt: skip


class FewShot:
    """Few-shot in one volume. Keeps what depends only on the image, and what a changed drawing leaves as it is.

    :param axis: the axis across the slices, "x", "y", "z", or "auto": that of most drawn slices.
    :param encoder: a pretrained encoder (:func:`load_encoder`); None: none is used.
    :param device: where the prototypes are compared, see :func:`~..common.device.choose_device`.
    :raises InputError: an image without contrast, or settings that need an encoder without one.
    """

    def __init__(
        self,
        volume: Volume,
        settings: FewShotSettings | None = None,
        axis: str = "auto",
        encoder: FewShotEncoder | None = None,
        device: str = "auto",
    ):
        self.volume, self.settings, self.encoder = volume, settings or FewShotSettings(), encoder
        if axis != "auto":
            volume.slice_axis(axis)
        if self.settings.method == "alpnet" and encoder is None:
            raise InputError(
                "method alpnet needs a pretrained encoder; get weights with 's3net weights get dinov2-vits14-reg4', name a "
                "file of weights, or choose method default"
            )
        if self.settings.test_time_steps and encoder is None:
            raise InputError(
                f"test_time_steps is {self.settings.test_time_steps}, but there is no pretrained encoder to train; name one, or leave it at 0"
            )
        if encoder is not None and self.settings.encoder_input == "zscore":
            self.encoder = encoder = encoder.with_zscores()
        # All work is done on the ordered image; what is given and what is answered is in the order of ``volume``.
        self._image, self._axis = volume.ordered, volume.order.axis(axis)
        self._scale, self._device = intensity_scale(volume), choose_device(device)
        self._notes = [*label_map_notes(volume), *self._scale.notes]
        self._support: LayeredSupport | None = None
        self._maker = VoterMaker(self._image, self._scale, self.settings, encoder, self._device, self._filled_in)
        # The last used ones, each with GrowCut's answers in it.
        self._frames: dict[tuple, tuple[Frame, LimitedCache]] = {}

    def set_support(self, items: Sequence[DrawnSlice | DrawnPlane | SupportVolume]) -> None:
        """What is drawn, all of it; a later call replaces it. Segments of different layers of ``items`` may overlap.

        :raises InputError: nothing is drawn, or a drawing that does not fit the volume; the support stays as it was.
        """
        items = [item.in_order(self.volume) for item in items]
        self._support = LayeredSupport.of(self._image, items, self._axis, self.settings.partial_ring)
        self._maker.forget_all_but(self._support.others)

    def propagate(self, slices: tuple[int, int] | None = None, quick: bool = False) -> Steps[FewShotAnswer]:
        """The segments on ``slices`` (first and last along the axis, included; None: all), as a generator of progress.

        :param quick: a first answer for a few slices, in about a second: nothing is learned, registration and GrowCut vote with
            fixed weights on a coarser grid.
        """
        if self._support is None:
            raise InputError("nothing is drawn; draw at least one segment on at least one slice")
        return self._finished(monotonic(self._propagate(self._support, slices, quick)), self._support)

    def _finished(self, steps: Steps[FewShotAnswer], support: LayeredSupport) -> Steps[FewShotAnswer]:
        """``steps``, whose answer holds no voxels without a number but drawn ones, and says what the user should know of the image."""
        answer = yield from steps
        if (empty := self._scale.without_number(self._image.array)) is not None:
            for layer, one in zip(support.layers, answer.layers, strict=True):
                there = empty.copy()  # what is drawn stays
                for z in layer.drawing.slices:
                    slices_first(there, layer.drawing.axis)[z] = False
                one[there] = 0
        answer = dataclasses.replace(answer, notes=[*self._notes, *answer.notes])
        return answer.in_order(self.volume.order.back)

    def _propagate(self, support: LayeredSupport, slices, quick: bool) -> Steps[FewShotAnswer]:
        order, answers, count = self.volume.order, [], len(support.layers)
        axis = order.back.axis(support.layers[0].drawing.axis)
        depth = self.volume.size[AXES.index(axis)]
        first, last = slices or (0, depth - 1)
        if not 0 <= first <= last < depth:
            raise InputError(
                f"slices {first} to {last} along {axis} are not in image {self.volume.name!r}, which has slices 0 "
                f"to {depth - 1}"
            )
        first, last = sorted(order.slice(axis, n)[1] for n in (first, last))
        try:
            for n, layer in enumerate(support.layers):
                work = self._answered(support, layer, first, last, quick)
                answers.append((yield from as_part_of(work, n / count, (n + 1) / count)))
        except MemoryError:
            raise ResourceError(
                "the memory of this machine is not enough for this volume; choose fewer slices, set smaller work_voxels "
                "and grow_voxels, or close other programs"
            ) from None
        return united(answers, support.homes, support.overlap)

    def _answered(
        self, support: LayeredSupport, layer: SupportLayer, first: int, last: int, quick: bool
    ) -> Steps[FewShotAnswer]:
        """The answer to one layer. All layers are worked on in the same box and on the same grid where they can be, so that
        features, registration and the ways through the image are found once."""
        drawing = layer.drawing
        if sum(drawn.complete for drawn in drawing.slices.values()) == self._image.size[AXES.index(drawing.axis)]:
            yield Step(1.0, "Everything is drawn")
            return drawn_answer(drawing)
        voters = yield from self._maker.voters(layer, quick)
        cut = cut_off(voters, drawing.axis)
        if cut and not quick and self.settings.method == "default" and not drawing.projections():
            return (yield from self._carried_on(support, drawing, voters, cut, first, last))
        foretold = max((voter.foretold for voter in voters if voter.foretold is not None), default=None)
        several = sum(drawn.complete for drawn in drawing.slices.values()) > 1
        hides = several and not quick and self.settings.leave_one_out and not is_scattered(self.settings, drawing)
        if foretold is None or hides:
            return (yield from self._voted(support, drawing, voters, first, last, quick))
        # Where no drawn slice is hidden, other patients count if they had foretold what is drawn better than the answer without
        # them is expected to be, and if with them more is expected.
        silenced = [voter if voter.foretold is None else voter.silenced() for voter in voters]
        alone = yield from as_part_of(self._voted(support, drawing, silenced, first, last, quick), 0.0, 0.5)
        expected = _mean_expected(alone)
        if expected >= foretold:
            return alone
        together = yield from as_part_of(self._voted(support, drawing, voters, first, last, quick), 0.5, 1.0)
        return together if _mean_expected(together) > expected else alone

    def _carried_on(
        self, support: LayeredSupport, drawing: Drawing, voters: Sequence[Voter], cut: Cut, first: int, last: int
    ) -> Steps[FewShotAnswer]:
        """The answer where nothing is drawn here and the volumes of all drawings end within the segments ``cut``."""
        end = self._image.size[AXES.index(drawing.axis)] - 1
        answer = yield from as_part_of(self._voted(support, drawing, voters, 0, end, False), 0.0, 0.5)
        items = slices_to_carry(answer, cut)
        if items:
            taken = LayeredSupport.of(self._image, items, drawing.axis, self.settings.partial_ring)
            work = self._voted(taken, taken.layers[0].drawing, [], 0, end, False)
            answer = carried_on(answer, (yield from as_part_of(work, 0.5, 1.0)), cut)
        return limited(answer, first, last)

    def _voted(
        self, support: LayeredSupport, drawing: Drawing, voters: Sequence[Voter], first: int, last: int, quick: bool
    ) -> Steps[FewShotAnswer]:  # fmt: skip
        """The answer with these ``voters`` besides those of the drawn slices, in a box that grows with it."""
        box = self._first_box(support, drawing, voters)
        growing = 0 if quick else self.settings.growing
        for attempt in itertools.count():
            yield Step(attempt / (attempt + 1), "Preparing the image")
            frame, kept = self._frame_for(support, drawing, box)
            yield Step(attempt / (attempt + 1), "Preparing the image")
            run = Propagation(frame, kept, drawing, self.settings, voters)
            yield Step(attempt / (attempt + 1), "Preparing the image")
            yield from as_part_of(run.run(first, last, quick), attempt / (attempt + 1), 1.0)
            wider = run.wider_box() if attempt < growing else None
            if wider is None:
                break
            box = wider
        return run.answer()

    def _filled_in(self, other: SupportVolume) -> Steps[FewShotAnswer]:
        """The answer to ``other``, of which only some slices are drawn."""
        settings = dataclasses.replace(self.settings, method="default", test_time_steps=0)  # there is no encoder
        there = FewShot(other.volume, settings, other.axis)
        planes = slices_first(other.labels, other.axis)
        there.set_support(other.drawings or [DrawnSlice(other.axis, z, planes[z]) for z in other.drawn or ()])
        return (yield from there.propagate())

    def _first_box(self, support: LayeredSupport, drawing: Drawing, voters: Sequence[Voter]) -> Box:
        height, width = slices_first(self._image.array, drawing.axis).shape[1:3]
        if self.settings.method == "alpnet" or (drawing.slices and is_scattered(self.settings, drawing)):
            return Box(0, height, 0, width)  # what is scattered may lie anywhere
        found = [voter.projection(drawing.axis) for voter in voters]
        shown = [*support.projections, *(image for image in found if image is not None)]
        if not any(image.any() for image in shown):
            raise InputError(
                f"laid over image {self.volume.name!r}, what is drawn in the other one lies beside it: the two are too unlike. Draw one "
                "slice in this image, or take the drawing of one that is like it"
            )
        spacing = [s for a, s in zip(AXES[::-1], self._image.spacing[::-1], strict=True) if a != drawing.axis]
        return drawn_box(shown, two(spacing), self.settings.margin)

    def _frame_for(self, support: LayeredSupport, drawing: Drawing, box: Box) -> tuple[Frame, LimitedCache]:
        depth = self._image.size[AXES.index(drawing.axis)]
        scattered = is_scattered(self.settings, drawing)
        shape = work_shape(box, depth, support.sizes, self.settings.work_voxels, scattered)
        key = (drawing.axis, box, shape)
        found = self._frames.pop(key, None) or (
            Frame(self._image, self._scale, drawing.axis, box, shape),
            LimitedCache(_KEPT_BYTES),
        )
        kept = list(self._frames.items())[-(_FRAMES - 1) :]
        self._frames = {**dict(kept), key: found}
        return found


def _mean_expected(answer: FewShotAnswer) -> float:
    """Expected Dice, mean over the segments; 0 where there are none."""
    return float(np.mean(list(answer.expected_dice.values()) or [0.0]))
