"""``SegmentRun``: the steps of one run of Segment; ``FirstSight``: the slices with prompts, answered and shown first."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ...engine.common.progress import Steps, as_part_of
from ...scene.answers.preview import FirstSightNode
from .answer import FindRegions, default_count, object_steps
from .request import SegmentRequest

_KEPT = 12  # slices whose regions are remembered
_SIGHT = 0.1  # of a run in a volume, until its slices are answered


class FirstSight:
    """Remembers the regions of the slices that were searched, so that a box whose sides are dragged is followed at once.

    :param find_regions: the engine's; None: imported when it is first needed.
    :param target: ``(segmentation node or None, segment id)``, where the answer goes.
    """

    def __init__(self, find_regions: FindRegions | None, target: Callable[[], tuple]):
        self._find_regions, self._target = find_regions, target
        self._regions: dict[tuple, object] = {}  # (key of the request, slice) -> its regions
        self._node: FirstSightNode | None = None

    def steps(self, request: SegmentRequest) -> Steps[dict]:
        """The object in each slice with prompts, see ``engine.segment.carry.draw_prompts``."""
        from ...engine.segment.carry import draw_prompts

        def remembered(volume, *, extent, axis, settings, device):
            key = (request.key, extent)
            if key not in self._regions:
                find_regions = self._find_regions
                if find_regions is None:
                    from ...engine.segment.find_regions import find_regions
                found = yield from find_regions(volume, extent=extent, axis=axis, settings=settings, device=device)
                kept = [(k, v) for k, v in self._regions.items() if k[0] == request.key]
                self._regions = {**dict(kept[-(_KEPT - 1) :]), key: found}
            return self._regions[key]

        return draw_prompts(
            request.volume, request.prompts, extent=request.extent, axis=request.axis, settings=request.settings,
            device=request.device, excluded=request.excluded, find_regions=remembered,
        )  # fmt: skip

    def follow(self, request: SegmentRequest) -> bool:
        """Shows at once what ``request`` means in its slices, if their regions are known; returns whether they are."""
        from ...engine.common.progress import run_to_end
        from ...engine.segment.prompts import prompted_slices

        checked = request.prompts.checked(request.extent)
        slices = prompted_slices(checked, request.axis, request.volume.order)
        if not all((request.key, request.extent.slice_at(*key)) in self._regions for key in slices):
            return False
        self.show(request, run_to_end(self.steps(request)))
        return True

    def show(self, request: SegmentRequest, drawn: dict) -> None:
        """Shows the answers in the slices until :meth:`remove`."""
        if self._node is None:
            self._node = FirstSightNode(request.volume_node, *self._target())
        self._node.show(drawn, request.volume, request.extent)

    def remove(self) -> None:
        """Takes away what is shown."""
        node, self._node = self._node, None
        if node is not None:
            node.remove()

    def forget(self) -> None:
        """Takes away what is shown, and forgets the regions."""
        self.remove()
        self._regions = {}


class SegmentRun:
    """Searches regions, and the object that is asked for among them; in a volume the slices that were pointed at are answered
    and shown first. Other prompts do not begin the search anew.

    Attributes: ``request``, what is asked for now; ``choice``, the object once it is found (else None).

    :param regions: those that are known already.
    :param confidence: number of regions whose confidence is wanted, 0: the usual one; None: it is not wanted.
    """

    def __init__(
        self,
        request: SegmentRequest,
        sight: FirstSight,
        find_regions: FindRegions | None = None,
        regions=None,
        confidence: int | None = None,
    ):
        self.request, self.regions, self.choice = request, regions, None
        self._sight, self._find_regions, self._confidence = sight, find_regions, confidence
        self._search = None
        self._reached = 0.0
        self._anew = False

    def ask(self, request: SegmentRequest) -> bool:
        """Asks with other prompts from now on; returns whether this run can answer them."""
        if not (request.has_prompts and self.request.has_prompts and request.key == self.request.key):
            return False
        self.request, self._anew = request, True
        return True

    def steps(self) -> Steps[None]:
        """The work; ``regions`` and ``choice`` are there afterwards."""
        while True:
            try:
                self._anew = False
                yield from self._once(self.request)
                return
            except _OtherPrompts:
                continue

    def _once(self, request: SegmentRequest) -> Steps[None]:
        drawn = None
        if shows_slices(request):
            start = self._reached
            drawn = yield from self._until_asked(as_part_of(self._sight.steps(request), start, max(start, _SIGHT)))
            self._sight.show(request, drawn)
        # The object of boxes and strokes in a volume takes as long as its regions.
        share = 0.5 if takes_long(request) else 0.8 if self._confidence is not None else 0.95
        if self.regions is None:
            self._search = self._search or self._searched(request, share)
            self.regions = yield from self._until_asked(self._search)
        start = min(self._reached, 0.95)
        if not request.has_prompts:
            self.choice = yield from as_part_of(self.regions.main_steps(), start, 0.95)
        else:
            self.choice = yield from self._until_asked(
                as_part_of(object_steps(self.regions, request, drawn), start, 0.95)
            )
        if self._confidence is not None:
            count = self._confidence if self._confidence in self.regions.counts else default_count(self.regions.counts)
            # The regions remember it.
            yield from self._until_asked(as_part_of(self.regions.confidence_steps(count=count), 0.95, 1.0))

    def _searched(self, request: SegmentRequest, share: float) -> Steps:
        # Inside the generator: importing the engine is a step of the work, not of the click.
        find_regions = self._find_regions
        if find_regions is None:
            from ...engine.segment.find_regions import find_regions
        search = find_regions(
            request.volume, extent=request.extent, axis=request.axis, settings=request.settings, device=request.device
        )
        return (yield from as_part_of(search, self._reached, share))

    def _until_asked(self, steps: Steps) -> Steps:
        """Passes ``steps`` on until other prompts come. A search of regions goes on where it was."""
        while True:
            try:
                step = next(steps)
            except StopIteration as end:
                return end.value
            self._reached = max(self._reached, step.fraction)
            yield step
            if self._anew:
                raise _OtherPrompts


class _OtherPrompts(Exception):
    """The user points at something else meanwhile."""


def takes_long(request: SegmentRequest, known: SegmentRequest | None = None) -> bool:
    """Whether the object is not answered at once, but searched for in a volume: always but for further points.

    :param known: what is answered already.
    """
    prompts = request.prompts
    further = known is not None and prompts.inside[:1] == known.prompts.inside[:1]
    return not request.flat and request.has_prompts and bool(prompts.boxes or prompts.strokes or not further)


def shows_slices(request: SegmentRequest) -> bool:
    """Whether the answer in slices is shown before that in the volume. Not for points alone: what a point means in a slice
    and in the volume is searched in different ways, and where the object is small they often mean different objects."""
    return not request.flat and bool(request.prompts.boxes or request.prompts.strokes)


def same_answer(request: SegmentRequest, known: SegmentRequest) -> bool:
    """Whether nothing that the object depends on differs."""
    asked = [(r.prompts, r.inside, r.outside, r.radius_mm) for r in (request, known)]
    one, other = request.excluded, known.excluded
    return asked[0] == asked[1] and (
        one is other or (one is not None and other is not None and np.array_equal(one, other))
    )
