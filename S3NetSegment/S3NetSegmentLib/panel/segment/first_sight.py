"""``FirstSight``: what prompts in a volume mean in the slices that they lie on, answered and shown at once."""

from __future__ import annotations

from collections.abc import Callable

from ...engine.common.progress import Steps
from ...scene.answers.first_sight import FirstSightNode
from .answer import FindRegions
from .request import SegmentRequest

_KEPT = 12  # slices whose regions are remembered


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

        slices = prompted_slices(request.prompts.checked(request.extent), request.axis)
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
        """Takes away what is shown, and remembers no regions any more."""
        self.remove()
        self._regions = {}
