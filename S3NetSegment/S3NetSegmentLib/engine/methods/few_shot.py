"""Few-shot: a drawing on one or a few slices becomes the segments of the whole volume.

Drawn masks are carried from slice to slice by registration, corrected by appearance, and vote with GrowCut; from two drawn
slices on the vote is weighted by how well each part predicts a drawn slice that is hidden from it.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import InputError, ResourceError
from ..few_shot.drawing import Drawing
from ..few_shot.frame import Box, DrawnSizes, Frame, drawn_box, work_shape
from ..few_shot.propagation import FewShotAnswer, Propagation
from ..few_shot.settings import FewShotSettings
from ..few_shot.support import DrawnSlice
from ..images import AXES, Volume
from ..images.intensity import intensity_scale
from ..progress import Steps, within

_FRAMES = 2  # regions of the volume whose features and registration are kept

__all__ = ["DrawnSlice", "FewShot", "FewShotAnswer", "FewShotSettings"]


class FewShot:
    """Few-shot in one volume. Keeps what depends only on the image, and what a changed drawing leaves as it is.

    :param axis: the axis across the slices, "x", "y", "z", or "auto": that of most drawn slices.
    :raises InputError: an image without contrast.
    """

    def __init__(self, volume: Volume, settings: FewShotSettings | None = None, axis: str = "auto"):
        self.volume, self.settings = volume, settings or FewShotSettings()
        if axis != "auto":
            volume.slice_axis(axis)
        self._axis, self._scale = axis, intensity_scale(volume)
        self._drawing: Drawing | None = None
        self._frames: dict[tuple, tuple[Frame, dict]] = {}  # the last used ones, each with GrowCut's answers in it

    def set_support(self, slices: Sequence[DrawnSlice]) -> None:
        """What is drawn, all of it; a later call replaces it. Raises InputError for what does not fit the volume."""
        checked = [s.checked(self.volume) for s in slices]
        self._drawing = Drawing(self.volume, checked, self._axis, self.settings.partial_ring)

    def propagate(self, slices: tuple[int, int] | None = None) -> Steps[FewShotAnswer]:
        """The segments on ``slices`` (first and last along the axis, included; None: all), as a generator of progress."""
        if self._drawing is None:
            raise InputError("nothing is drawn; draw at least one segment on at least one slice")
        return self._propagate(self._drawing, slices)

    def _propagate(self, drawing: Drawing, slices) -> Steps[FewShotAnswer]:
        depth = self.volume.size[AXES.index(drawing.axis)]
        first, last = slices or (0, depth - 1)
        if not 0 <= first <= last < depth:
            raise InputError(
                f"slices {first} to {last} along {drawing.axis} are not in image {self.volume.name!r}, which has slices 0 "
                f"to {depth - 1}"
            )
        try:
            box = self._first_box(drawing)
            for attempt in range(self.settings.growing + 1):
                run = Propagation(*self._frame_for(drawing, box), drawing, self.settings)
                yield from within(run.run(first, last), attempt / (attempt + 1), 1.0)
                wider = run.wider_box()
                if wider is None or attempt == self.settings.growing:
                    return run.answer()
                box = wider
        except MemoryError:
            raise ResourceError(
                "the memory of this machine is not enough for this volume; choose fewer slices, set smaller work_voxels "
                "and grow_voxels, or close other programs"
            ) from None

    def _first_box(self, drawing: Drawing) -> Box:
        spacing = [s for a, s in zip(AXES[::-1], self.volume.spacing[::-1], strict=True) if a != drawing.axis]
        return drawn_box(drawing.projections(), tuple(spacing), self.settings.margin)

    def _frame_for(self, drawing: Drawing, box: Box) -> tuple[Frame, dict]:
        depth = self.volume.size[AXES.index(drawing.axis)]
        shape = work_shape(box, depth, DrawnSizes.of(drawing.projections()), self.settings.work_voxels)
        key = (drawing.axis, box, shape)
        found = self._frames.pop(key, None) or (Frame(self.volume, self._scale, drawing.axis, box, shape), {})
        kept = list(self._frames.items())[-(_FRAMES - 1) :]
        self._frames = {**dict(kept), key: found}
        return found
