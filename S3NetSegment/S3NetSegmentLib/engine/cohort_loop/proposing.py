"""A proposal for a case: Few-shot from the accepted patients and from what is drawn in the case itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..common.arrays import LimitedCache
from ..common.errors import InputError, ResourceError
from ..common.progress import Step, Steps, as_part_of
from ..common.provenance import FEW_SHOT, OutcomeFacts, TaskFacts, mix_text, provenance
from ..images import Segmentation, Volume
from ..images.files import replacing
from ..images.formats.seg_nrrd import on_grid_of, read_segmentation
from ..images.image_warnings import collected_image_warnings
from ..images.overlay import best_slice, draw_overlay
from ..images.reading import read_alone, read_image
from ..images.volume import slices_first
from ..images.writing import write_png
from .accepting import as_cohort_names, cohort_segments, of_another_image
from .segment_names import CohortSegments, paired
from .store import ACCEPTED, CORRECTED, FAILED, PROPOSED, CaseImage, CohortStore, now, who

SUPPORTS = 5  # accepted patients that a proposal is made from
_PICTURE = 512  # pixels of the long side
_KEPT = 8  # accepted cases that were read


@dataclass(frozen=True, eq=False)
class Proposal:
    """What is proposed for a case.

    :param expected: mean expected Dice over the segments; None where nothing is known.
    :param axis: across the slices; ``next_slices``: numbers along it, the most useful to draw first.
    :param supports: names of the accepted cases that it was made from.
    :param way: "few-shot" or "model".
    """

    case: str
    image: CaseImage
    segmentation: Segmentation
    expected: float | None
    axis: str
    next_slices: tuple[int, ...]
    supports: tuple[str, ...]
    way: str = "few-shot"
    notes: tuple[str, ...] = ()

    @property
    def volume(self) -> Volume:
        return self.image.volume


@dataclass(frozen=True, eq=False)
class DrawnHere:
    """What is drawn in the case itself.

    :param segmentation: on the grid of the image, with the names of the cohort.
    :param axis, slices: which slices of it are right.
    """

    segmentation: Segmentation
    axis: str
    slices: tuple[int, ...]


class ReadCases:
    """Accepted cases that were read, so that the next proposal need not read them again; at most :data:`_KEPT` are kept."""

    def __init__(self):
        self._kept: LimitedCache[tuple[Volume, Segmentation]] = LimitedCache(_KEPT)

    def get(self, store: CohortStore, case: str) -> tuple[Volume, Segmentation]:
        """Image and accepted segmentation of ``case``, as they are now. Raises InputError for what cannot be read, and where
        the image is no longer the one that was segmented."""
        key = case, store.accepted_image_facts(case)["sha256"], store.digest(ACCEPTED, case)
        found = self._kept.get(key)
        if found is None:
            with collected_image_warnings():  # reported when the case was proposed
                volume = read_alone(store.image_of(case), read_image)
                segmentation = on_grid_of(read_segmentation(store.segmentation_path(ACCEPTED, case)), volume)
            found = self._kept.add(key, (volume, segmentation))
        return found


def propose(
    store: CohortStore,
    case: str,
    drawn: DrawnHere | None = None,
    *,
    image: CaseImage | None = None,
    supports: int = SUPPORTS,
    read: ReadCases | None = None,
    encoder: str = "auto",
    device: str = "auto",
    settings: Mapping | None = None,
    load: Callable | None = None,
) -> Steps[Proposal]:
    """Makes a proposal for ``case`` and writes it into the folder, as a generator of progress steps.

    :param drawn: slices that are drawn or corrected in it; None: those that were kept at an earlier proposal, if any.
    :param image: what :func:`image_of` gave, where it has been asked already.
    :param supports: so many accepted cases it is made from, at most.
    :param encoder: see :func:`~..few_shot.method.load_encoder`; ``load``: (name, device) -> encoder, for callers that keep it.
    :raises InputError: no such case, an unreadable image (noted in the folder), or nothing that it could be made from.
    """
    from ..common.device import torch_loaded

    yield from torch_loaded("few_shot.method", "cohort_loop.choosing", "cohort_loop.model")
    from ..few_shot.method import FewShot, FewShotSettings, load_encoder  # late: refusals need no torch
    from .choosing import nearest_accepted
    from .model import found_by_model

    segments = cohort_segments(store)
    image = image or image_of(store, case)
    volume = image.volume
    left: list[str] = []
    if drawn is None:
        kept, left = kept_drawing(store, case, image)
        drawn, unknown = named_drawing(kept, segments)
        left += unknown
    names = yield from as_part_of(nearest_accepted(store, case, volume, supports), 0.0, 0.1)
    items, used, notes = supports_of(store, names, segments, read or ReadCases())
    notes += left
    if drawn is not None:
        items += _drawn_items(drawn)
    if not any(item.labels.any() for item in items):  # slices of the case itself may be drawn as empty
        raise InputError(
            f"nothing is accepted yet that a proposal for {case!r} could be made from; segment one case, and accept it with "
            "--segmentation FILE" + (f" ({notes[0]})" if notes else "")
        )
    notes += _twins(store, image, used)
    few_shot = FewShot(
        volume, FewShotSettings(**(settings or {})), drawn.axis if drawn else "auto",
        (load or load_encoder)(encoder, device), device,
    )  # fmt: skip
    few_shot.set_support(items)
    answer = yield from as_part_of(few_shot.propagate(), 0.1, 0.85)
    masks, by_model = {}, {}
    if drawn is None:  # what is drawn in the case itself tells more than any model
        masks, by_model = yield from as_part_of(found_by_model(store, volume, segments, device), 0.85, 0.95)
    yield Step(0.95, "Writing the proposal")
    expected = {s.name: answer.expected_dice.get(s.value, np.nan) for s in segments.segments} | by_model
    expected = expected or {str(value): dice for value, dice in answer.expected_dice.items()}
    known = [value for value in expected.values() if np.isfinite(value)]
    text = ", ".join([*used, *([f"slices {list(drawn.slices)} of it"] if drawn else [])])
    tags = provenance(
        TaskFacts(FEW_SHOT, volume.name, few_shot.settings, support=text), OutcomeFacts("cpu", mix=mix_text(answer.mix))
    )
    layers = with_masks(
        answer.layers, {home.value: mask for name, mask in masks.items() if (home := segments.find(name)) is not None}
    )
    segmentation = _segmentation(layers, volume, segments, drawn, tags)
    proposal = Proposal(
        case, image, segmentation, float(np.mean(known)) if known else None, answer.axis,
        tuple(number for number, _ in answer.next_slices[:5]), tuple(used), _way(masks, segments),
        tuple(dict.fromkeys([*image.warned, *notes, *answer.notes])),
    )  # fmt: skip
    write_proposal(store, proposal, drawn)
    return proposal


def image_of(store: CohortStore, case: str) -> CaseImage:
    """As :func:`read_case`; an image that cannot be read is noted in the folder, one for which there is no memory now is not."""
    try:
        image = read_case(store, case)
    except InputError as error:
        note_failure(store, case, str(error))
        raise
    store.record_path(FAILED, case).unlink(missing_ok=True)
    return image


def read_case(store: CohortStore, case: str) -> CaseImage:
    """The image of ``case``. InputError or ResourceError for one that cannot be read."""
    with collected_image_warnings() as warned:
        # Before it is read: a file that is replaced meanwhile must not pass for what was read.
        facts = store.image_facts(case, store.record(PROPOSED, case).get("image"))
        return CaseImage(read_alone(store.image_of(case), read_image), facts, warned)


def with_masks(layers: Sequence[np.ndarray], masks: Mapping[int, np.ndarray]) -> list[np.ndarray]:
    """``layers`` ``[K, J, I]`` of labels with other ``masks`` for some values; other segments keep their voxels."""
    found = [np.where(np.isin(labels, list(masks)), 0, labels).astype(labels.dtype) for labels in layers]
    for value, mask in masks.items():
        home = next((n for n, labels in enumerate(layers) if (labels == value).any()), 0)
        found[home][mask & (found[home] == 0)] = value
    return found


def _way(masks: Mapping[str, np.ndarray], segments: CohortSegments) -> str:
    if not masks:
        return "few-shot"
    return "model" if len(masks) == len(segments.segments) else f"few-shot; {', '.join(masks)} by the model"


def write_proposal(store: CohortStore, proposal: Proposal, drawn: DrawnHere | None) -> None:
    """Writes a proposal with its record and picture. ResourceError if the disk is full; an earlier one is kept then."""
    case, image_facts = proposal.case, proposal.image.facts
    if drawn is not None:
        store.write_with_record(
            CORRECTED, case, drawn.segmentation,
            {"axis": drawn.axis, "slices": list(drawn.slices), "image": image_facts, "by": who(), "when": now()},
        )  # fmt: skip
    index = best_slice(proposal.volume, proposal.segmentation, proposal.axis)
    picture = draw_overlay(proposal.volume, proposal.segmentation, axis=proposal.axis, index=index, size=_PICTURE)
    expected = None if proposal.expected is None else round(proposal.expected, 4)
    record = {
        "when": now(), "image": image_facts, "expected_dice": expected, "way": proposal.way, "from": list(proposal.supports),
        "drawn": list(drawn.slices) if drawn else [], "axis": proposal.axis, "next_slices": list(proposal.next_slices),
        "notes": list(proposal.notes),
    }  # fmt: skip
    with replacing(store.picture_path(case)) as temporary:  # it changes only with what it shows
        write_png(picture, temporary)
        store.write_with_record(PROPOSED, case, proposal.segmentation, record)


def note_failure(store: CohortStore, case: str, text: str) -> None:
    """Notes that ``case`` cannot be used, and why, for its state; as long as its image stays as it is. What was proposed for it, and
    for which image, stays known."""
    try:
        facts = store.image_facts(case)
    except (InputError, ResourceError):
        facts = {}
    store.write(f"{FAILED}/{case}.json", {"when": now(), "image": facts, "error": text})


def drawing_of(
    store: CohortStore, case: str, segmentation: Segmentation, volume: Volume, axis: str = "auto",
    slices: Sequence[int] | None = None, *, same: Mapping[str, str] | None = None, new_segments: bool = False,
) -> DrawnHere:  # fmt: skip
    """What is drawn in ``case``, with the names of the cohort, which keeps the answers ``same`` and, with ``new_segments``, what
    is new.

    :param axis: across the slices; "auto": the one along which the fewest hold labels.
    :param slices: which of them are right; None: those that hold labels.
    :raises InputError: another grid, nothing drawn, or names that the cohort does not know, see :func:`~.segment_names.paired`.
    """
    from ..few_shot.drawings.support import drawn_slices, mixed_slices

    placed = on_grid_of(segmentation, volume)
    result, _ = as_cohort_names(store, placed, same=same, new_segments=new_segments, where="the drawing", case=case)
    filled = np.maximum.reduce(result.layers)
    if axis == "auto" and slices is None and (mixed := mixed_slices(filled)):
        shown = " and ".join(f"{', '.join(map(str, numbers))} along {a}" for a, numbers in mixed.items())
        raise InputError(
            f"the drawing lies on slices across several axes ({shown}); name those across one axis, with --axis and --drawn"
        )
    axis, numbers = drawn_slices(filled, axis, slices)
    for labels in result.layers:  # what lies on other slices is not said to be right
        planes = slices_first(labels, axis)
        planes[np.setdiff1d(np.arange(len(planes)), numbers)] = 0
    return DrawnHere(result, axis, tuple(numbers))


def kept_drawing(store: CohortStore, case: str, image: CaseImage) -> tuple[DrawnHere | None, list[str]]:
    """What was drawn in ``case``, whose image is ``image``, at an earlier proposal, and notes; None if nothing is kept, nothing
    that can be read, or what was drawn in an image that has been replaced since."""
    record = store.record(CORRECTED, case)
    if of_another_image(record, image.facts):
        return None, ["what was drawn in the case is not used: its image has been replaced since"]
    try:
        axis, slices = str(record["axis"]), tuple(int(n) for n in record["slices"])
        if record["segmentation_sha256"] != store.digest(CORRECTED, case):
            return None, []
        segmentation = on_grid_of(read_segmentation(store.segmentation_path(CORRECTED, case)), image.volume)
        return DrawnHere(segmentation, axis, slices), []
    except (KeyError, TypeError, ValueError):  # InputError is one
        return None, []


def named_drawing(drawn: DrawnHere | None, segments: CohortSegments) -> tuple[DrawnHere | None, list[str]]:
    """``drawn`` with the names and values that the cohort has now, and notes on segments that it no longer knows."""
    if drawn is None or not segments.segments:
        return drawn, []
    segmentation = drawn.segmentation
    unknown = segments.unknown_in(segmentation)
    known = [s for s in segmentation.segments if s not in unknown]
    result, _, _ = paired(replace(segmentation, segments=known), segments)
    notes = [
        f"drawn in the case as {s.name!r}, which the cohort does not know (or no longer), and left out" for s in unknown
    ]
    return replace(drawn, segmentation=result), notes


def supports_of(store: CohortStore, names: Sequence[str], segments: CohortSegments, read: ReadCases):
    """The drawings of accepted cases, their names, and notes on those that cannot be used."""
    from ..few_shot.method import SupportVolume

    items, used, notes = [], [], []
    for name in names:
        try:
            volume, segmentation = read.get(store, name)
            own, _, _ = paired(segmentation, segments, where=f"case {name!r}")
        except (InputError, ResourceError) as error:
            notes.append(f"accepted case {name!r} is not used: {error}")
            continue
        layers = [SupportVolume(volume, labels, layer=n) for n, labels in enumerate(own.layers) if labels.any()]
        items += layers
        used += [name] if layers else []
    return items, used, notes


def _twins(store: CohortStore, image: CaseImage, names: Sequence[str]) -> list[str]:
    """What the user should know where the image is also that of an accepted case: it tells nothing of other patients."""
    own = image.facts["sha256"]
    same = [name for name in names if (store.record(ACCEPTED, name).get("image") or {}).get("sha256") == own]
    return [f"it has the same image as the accepted case {name!r}; is it one patient under two names?" for name in same]


def _drawn_items(drawn: DrawnHere) -> list:
    from ..few_shot.method import DrawnSlice

    items = []
    for layer, labels in enumerate(drawn.segmentation.layers):
        planes = slices_first(labels, drawn.axis)
        items += [DrawnSlice(drawn.axis, z, planes[z], layer=layer) for z in drawn.slices]
    return items


def _segmentation(
    layers: list[np.ndarray], volume: Volume, segments: CohortSegments, drawn: DrawnHere | None, tags: Mapping[str, str]
) -> Segmentation:
    """The answer with the names of the cohort, also of segments that are not found."""
    known = segments.segments or (tuple(drawn.segmentation.segments) if drawn else ())
    found = []
    for segment in known:
        home = next((n for n, labels in enumerate(layers) if (labels == segment.value).any()), 0)
        found.append(replace(segment, layer=home, tags=dict(tags)))
    return Segmentation(layers, found, volume.ijk_to_ras)
