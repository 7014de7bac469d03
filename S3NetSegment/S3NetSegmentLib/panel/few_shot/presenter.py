"""``FewShotPresenter``: what Few-shot says and allows, the same in the panel and in the Segment Editor. Knows no widgets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from slicer.i18n import tr as _

from ...engine import InputError, Volume
from ...scene.drawings.drawn_slices import support_of_view
from ...scene.drawings.support_set import SupportPlane, SupportSlice
from ...scene.slices import last_used_slice_node, slice_name
from ...scene.volumes import volume_from_node
from ..messages import capital, sentence
from .controller import FewShotController


@dataclass(frozen=True)
class SupportRow:
    """A drawn slice or plane, its name, name and colour of each segment on it, and the names of those that seem to be missing."""

    slice: SupportSlice | SupportPlane
    name: str
    segments: tuple[tuple[str, tuple[float, float, float]], ...]
    missing: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        return self.name + (_(" (corrected)") if self.slice.corrected else "")

    @property
    def text(self) -> str:
        drawn = ", ".join(name for name, _color in self.segments) or _("nothing here")
        return f"{drawn}; no {', '.join(self.missing)}?" if self.missing else drawn

    @property
    def doubt(self) -> str:
        """What the user should check; "" for nothing."""
        return missing_text(self.missing) if self.missing else ""


def drawn_names(drawn: Sequence[SupportSlice | SupportPlane], volume: Volume) -> list[str]:
    """For the user: "axial 12", "oblique axial", "oblique axial 2"."""
    names: list[str] = []
    for one in drawn:
        if isinstance(one, SupportSlice):
            names.append(slice_name(volume, *one.place))
        else:
            name = one.name_in(volume)
            before = sum(n == name or n.startswith(f"{name} ") for n in names)
            names.append(f"{name} {before + 1}" if before else name)
    return names


def missing_text(names: Sequence[str]) -> str:
    """What is doubtful about a complete slice without ``names``, which are drawn before and behind it."""
    if len(names) > 1:
        text = _(
            "{names} are drawn before and behind this slice, but not here, and the slice counts as complete. If they are only "
            "not drawn yet, uncheck Complete or draw them."
        )
    else:
        text = _(
            "{names} is drawn before and behind this slice, but not here, and the slice counts as complete. If it is only not "
            "drawn yet, uncheck Complete or draw it."
        )
    return text.format(names=", ".join(names))


class FewShotPresenter:
    """
    :param help_text: what the button Propagate does, where it can be pressed.
    :param has_keys: whether Esc cancels, and N shows the next slice.
    """

    def __init__(self, controller: FewShotController, help_text: str, has_keys: bool):
        self._controller, self._help, self._has_keys = controller, help_text, has_keys

    # -- what is drawn

    def rows(self, hint: str) -> tuple[list[SupportRow], str]:
        """The drawn slices and planes, or none and why: ``hint``, or what is wrong with the volume."""
        support = self._controller.support
        if support is None:
            return [], hint
        try:
            volume, drawn_on, missing = volume_from_node(support.volume_node), support.drawn_on(), support.missing()
        except InputError as error:
            return [], capital(str(error))
        segment = support.segmentation_node.GetSegmentation().GetSegment
        rows = []
        for chosen, name in zip(support.drawn, drawn_names(support.drawn, volume), strict=True):
            looks = tuple((segment(i).GetName(), tuple(segment(i).GetColor())) for i in drawn_on[chosen.place])
            lacking = tuple(segment(i).GetName() for i in missing.get(chosen.place, ()))
            rows.append(SupportRow(chosen, name, looks, lacking))
        return rows, hint

    def in_view(self, last_view) -> tuple[SupportSlice | SupportPlane | None, str]:
        """The slice or oblique plane that the user looks at, or None and why there is none."""
        support = self._controller.support
        if support is None:
            return None, _("Select a volume first")
        try:
            return support_of_view(last_used_slice_node(support.volume_node, last_view), support.volume_node), ""
        except InputError as error:
            return None, capital(str(error))

    def plane_in_view(self, last_view) -> SupportPlane | None:
        shown = self.in_view(last_view)[0]
        return shown if isinstance(shown, SupportPlane) else None

    # -- the button

    def button(self, problem: str) -> dict[str, object]:
        """Properties of the button Propagate. ``problem``: why it cannot be pressed, "" if it can."""
        if self._controller.running:
            return {
                "text": _("Cancel"),
                "enabled": True,
                "toolTip": _("Stop; the segments stay as they are") + self._key("Esc"),
            }
        return {"text": _("Propagate"), "enabled": not problem, "toolTip": problem or self._help}

    # -- the answer

    @property
    def can_accept(self) -> bool:
        result = self._controller.result
        return result is not None and result.is_open and not self._controller.running

    def next_slice(self) -> tuple[str, int] | None:
        """Where drawing helps most; None where nothing is in doubt, or something runs."""
        result = self._controller.result
        return None if result is None or self._controller.running else result.next_slice()

    def next_texts(self) -> tuple[str, str]:
        text, tip = _("Next slice to draw"), _("Show the slice on which a drawing would help most") + self._key("N")
        place, result = self.next_slice(), self._controller.result
        if place is None:
            return text, tip
        empty = _(" (probably empty)") if result.is_expected_empty(place[1]) else ""
        why = result.reason(place[1])
        return f"{text}: {slice_name(result.request.volume, *place)}{empty}", f"{tip}: {why}" if why else tip

    def state(self, qualities: bool = False) -> str:
        """What there is to say about the answer; ``qualities``: and how good it is expected to be."""
        result = self._controller.result
        if result is None:
            return ""
        if self._controller.running:
            return _("First answer for the slice that you look at; the others follow.")
        if result.accepted is not None:
            if result.request.is_other_volume:
                return _("Accepted: the segments are in {segmentation_node!r}.").format(
                    segmentation_node=result.preview.segmentation_node.GetName()
                )
            if self._controller.support is not None and not self._controller.support.holds(result.accepted.name):
                return _("This answer was undone.")
            return _("Accepted. Correct a slice where it is wrong, then propagate again.")
        if result.is_partial and result.is_whole:
            text = _("Preview. The shown slice is newer than the others; propagate to bring them up to date.")
        elif result.is_partial:
            text = _("Preview of the shown slice. Nothing is written yet.")
        else:
            text = _("Preview. Nothing is written yet.")
        expected = ", ".join(f"{q.name} {100 * q.dice:.0f} % ({q.word})" for q in result.qualities())
        if qualities and expected:
            text += _(" Expected quality: {qualities}.").format(qualities=expected)
        return text + "".join(f" {sentence(note)}" for note in result.notes)

    def _key(self, name: str) -> str:
        return f" ({name})" if self._has_keys else ""
