"""What was pointed at, in words: a name and a place for each point, box and stroke."""

from __future__ import annotations

from collections.abc import Mapping

from slicer.i18n import tr as _

from ...engine import InputError, Volume
from ...engine.images import AXES
from ...scene.points import points_from_markups
from ...scene.prompts import BOX, INSIDE, box_of, centre_of, kind_of, prompt_nodes, volume_of
from ...scene.slices import slice_name
from ...scene.volumes import volume_from_node
from .prompt_table import PromptRow

_BESIDE = _("beside the image")


def prompt_rows(volume_node, points: Mapping[str, object]) -> list[PromptRow]:
    """The boxes and strokes of the scene, then the points.

    :param volume_node: the chosen volume, or None: places are told on its slices.
    :param points: kind of points -> their node, or None.
    """
    try:
        volume = volume_from_node(volume_node)
    except InputError:  # it cannot be segmented
        volume = None
    rows = [
        PromptRow(node.GetName(), _place(node, volume_node, volume), node.GetID(), centre_of(node))
        for node in prompt_nodes()
    ]
    for kind, node in points.items():
        for number, place in enumerate(positions_of(node)):
            name = f"{_('Point inside') if kind == INSIDE else _('Point outside')} {number + 1}"
            rows.append(PromptRow(name, _slice_at(place, volume), node.GetID(), place, number))
    return rows


def positions_of(node) -> list[tuple[float, float, float]]:
    """The points of a markups node (None: none), world RAS."""
    return [tuple(map(float, point)) for point in points_from_markups(node)]


def _place(node, volume_node, volume: Volume | None) -> str:
    drawn_on = volume_of(node)
    if drawn_on is not None and drawn_on is not volume_node:
        return _("on {volume!r}").format(volume=drawn_on.GetName())
    if kind_of(node) != BOX:
        return _slice_at(centre_of(node), volume)
    if volume is None:
        return _BESIDE
    try:
        box = box_of(node, volume)
    except InputError:
        return _BESIDE
    if box is None:
        return _("oblique")
    if box.flat_axis is None:
        return " × ".join(map(str, box.size))
    return slice_name(volume, box.flat_axis, box.slice_index())


def _slice_at(place, volume: Volume | None) -> str:
    if volume is None:
        return _BESIDE
    axis = volume.slice_axis("auto")
    try:
        return slice_name(volume, axis, volume.voxel_at(place)[AXES.index(axis)])
    except InputError:
        return _BESIDE
