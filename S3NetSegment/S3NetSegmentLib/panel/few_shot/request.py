"""``FewShotRequest``: what is drawn and where it is to be carried, read from the scene once and then independent of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from slicer.i18n import tr as _

from ...engine import InputError, Volume
from ...engine.few_shot.drawings.support import DrawnSlice
from ...engine.few_shot.settings import FewShotSettings
from ...engine.images import AXES
from ...scene.drawings.drawn_slices import other_volume_support, read_drawn
from ...scene.drawings.support_set import SupportPlane, SupportSlice
from ...scene.segmentation.labelmaps import unfinished_segments
from ...scene.volumes import turning_notes, volume_from_node

SCOPES = ("slice", "volume", "other")


@dataclass(frozen=True, eq=False)
class FewShotRequest:
    """One run of Few-shot.

    :param volume_node, segmentation_node: the drawn image and its drawing.
    :param target_node: the volume that is answered: ``volume_node``, or another one.
    :param volume: the target in world RAS.
    :param items: the drawing, for the engine.
    :param segments: label value -> segment id of what is drawn.
    :param layers: label value -> layer of the answer; several where segments overlap.
    :param support: the drawn slices and planes of the target; () in another volume.
    :param axis: the axis across the slices of the answer; "auto" in another volume.
    :param shown: the slice or oblique plane of the target that the user looks at, or None.
    :param only_shown: the answer is that alone.
    :param expected: label value -> Dice of the drawing itself with what is meant; 1 without one.
    :param notes: what the user should know about the drawing.
    """

    volume_node: object
    segmentation_node: object
    target_node: object
    volume: Volume
    items: list
    segments: dict[int, str]
    layers: dict[int, int]
    support: tuple[SupportSlice | SupportPlane, ...]
    axis: str
    shown: SupportSlice | SupportPlane | None
    only_shown: bool
    settings: FewShotSettings
    encoder: str = "auto"
    device: str = "auto"
    expected: dict[int, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def nodes(self) -> list:
        """The nodes that an answer depends on, each once."""
        return list({id(n): n for n in (self.volume_node, self.segmentation_node, self.target_node)}.values())

    @property
    def is_other_volume(self) -> bool:
        return self.target_node is not self.volume_node

    @property
    def quick_slices(self) -> tuple[int, int] | None:
        """First and last slice along ``axis`` in which the shown slice or plane lies, which is answered first; None if the view
        shows none that needs an answer."""
        shown = self.shown
        if shown is None or any(s.place == shown.place and s.complete for s in self.support):
            return None
        if isinstance(shown, SupportPlane):
            return shown.slices_in(self.volume, self.axis)
        return (shown.index, shown.index) if shown.axis == self.axis else None

    @property
    def shown_plane(self) -> SupportPlane | None:
        return self.shown if isinstance(self.shown, SupportPlane) else None

    @property
    def engine_key(self) -> tuple:
        """Requests with equal keys can share one engine, whatever is drawn."""
        image = self.target_node.GetImageData()
        matrix = tuple(np.round(self.volume.ijk_to_ras, 6).ravel())
        state = (self.target_node.GetID(), image.GetPointData().GetScalars().GetMTime(), self.volume.size, matrix)
        return (*state, self.axis, self.settings, self.encoder, self.device)


def make_few_shot_request(
    volume_node,
    segmentation_node,
    support: Sequence[SupportSlice | SupportPlane],
    scope: str = "volume",
    *,
    shown: SupportSlice | SupportPlane | None = None,
    other_volume=None,
    settings: FewShotSettings | None = None,
    encoder: str = "auto",
    device: str = "auto",
) -> FewShotRequest:
    """The request for the drawing ``support`` on ``volume_node`` in ``segmentation_node``.

    Segments with the status "Completed" are left alone: they are neither carried on nor written to.

    :param scope: "slice" (``shown`` alone), "volume", or "other" (the whole of ``other_volume``).
    :param shown: the slice or oblique plane of the target that the user looks at; it is answered first.
    :raises InputError: nothing is drawn, or something is missing or does not fit, with the remedy.
    """
    if scope not in SCOPES:
        raise InputError(
            _("scope is {scope!r}; it must be one of {SCOPES}").format(scope=scope, SCOPES=", ".join(SCOPES))
        )
    volume = volume_from_node(volume_node)
    settings = settings or FewShotSettings()
    open_segments = unfinished_segments(segmentation_node)
    if scope == "other":
        if other_volume is None:
            raise InputError(_("select the volume that the drawing is taken to"))
        if other_volume is volume_node:
            raise InputError(
                _("the drawing is on this volume itself; select another one, or propagate to the whole volume")
            )
        if not support:
            raise InputError(_("no slice is listed as drawn; draw a segment on a slice, or add a slice to the list"))
        other = other_volume_support(segmentation_node, open_segments, volume_node, support)
        target = volume_from_node(other_volume)
        segments = used_segments(other.segments, [v.labels for v in other.items])
        return FewShotRequest(
            volume_node, segmentation_node, other_volume, target, other.items, segments, other.layers, (), "auto",
            shown, False, settings, encoder, device, other.expected,
            [*other.notes, *turning_notes(other_volume, volume_node)],
        )  # fmt: skip
    if scope == "slice" and shown is None:
        raise InputError(_("no slice view shows the volume; show it in one, or propagate to the whole volume"))
    if scope == "slice" and any(s.place == shown.place and s.complete for s in support):
        raise InputError(_("the slice that you look at is drawn already; scroll to another one"))
    drawn = read_drawn(segmentation_node, open_segments, volume_node, support)
    segments = used_segments(drawn.segments, [s.labels for s in drawn.items])
    return FewShotRequest(
        volume_node, segmentation_node, volume_node, volume, drawn.items, segments, drawn.layers, tuple(support),
        _main_axis(volume, drawn.items), shown, scope == "slice", settings, encoder, device,
        drawn.expected, drawn.notes,
    )  # fmt: skip


def used_segments(segments: dict[int, str], drawings: list[np.ndarray]) -> dict[int, str]:
    """Those of ``segments`` (label value -> id) that have voxels in any of ``drawings``."""
    values = set().union(*(np.unique(labels).tolist() for labels in drawings))
    return {value: segment_id for value, segment_id in segments.items() if value in values}


def _main_axis(volume: Volume, drawn) -> str:
    """The axis with most drawn slices and planes that hold something, of equals the volume's own slice axis."""
    axes = [s.axis if isinstance(s, DrawnSlice) else s.axis_in(volume) for s in drawn if s.labels.any()]
    count = {a: axes.count(a) for a in AXES}
    usual = volume.slice_axis()
    return max(AXES, key=lambda a: (count[a], a == usual, a))
