"""The segments of a cohort: which segments of different patients are the same. Paired by name; what does not pair is asked
once, and the answer kept."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from ..common.arrays import three
from ..common.errors import InputError
from ..images import Segment, Segmentation
from ..images.segmentation import name_key, put_in_layer

_MOST = 254  # label values of Few-shot


class UnknownSegmentsError(InputError):
    """Segments that the cohort does not know by name.

    Attributes: ``unknown``, their names; ``known``, the names of the cohort's segments.
    """

    def __init__(self, text: str, unknown: Sequence[str], known: Sequence[str]):
        super().__init__(text)
        self.unknown, self.known = tuple(unknown), tuple(known)


@dataclasses.dataclass(frozen=True)
class CohortSegments:
    """The segments of a cohort in the order of their values, and other names of them (key -> key)."""

    segments: tuple[Segment, ...] = ()
    also: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, content: Mapping) -> CohortSegments:
        """From what :meth:`as_dict` gave; a damaged entry is left out."""
        segments = []
        for entry in content.get("segments") or ():
            try:
                color = three(float(part) for part in entry["color"])
                segments.append(Segment(str(entry["name"]), color, int(entry["value"]), 0, str(entry["terminology"])))
            except (KeyError, TypeError, ValueError):
                continue
        also = content.get("also")
        return cls(tuple(segments), {str(k): str(v) for k, v in also.items()} if isinstance(also, dict) else {})

    def as_dict(self) -> dict:
        """Plain values for JSON."""
        rows = [
            {"name": s.name, "value": s.value, "color": list(s.color), "terminology": s.terminology}
            for s in self.segments
        ]
        return {"segments": rows, "also": dict(self.also)}

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(s.name for s in self.segments)

    def find(self, name: str) -> Segment | None:
        """The segment of that name, or of which that is another name."""
        key = name_key(name)
        key = self.also.get(key, key)
        return next((s for s in self.segments if name_key(s.name) == key), None)

    def unknown_in(self, segmentation: Segmentation) -> list[Segment]:
        """The segments of ``segmentation`` that hold something and that the cohort does not know by name."""
        return [s for s in segmentation.segments if self.find(s.name) is None and segmentation.mask(s).any()]

    def with_answers(self, same: Mapping[str, str]) -> CohortSegments:
        """With the user's answers: other name -> name of a segment. InputError for one that is not a segment of the cohort."""
        also = dict(self.also)
        for other, name in same.items():
            found = self.find(name)
            if found is None:
                raise InputError(
                    f"{name!r} is not a segment of the cohort, which has {', '.join(self.names) or 'none yet'}; write OTHER=NAME "
                    "with the name of one of them"
                )
            if name_key(other) != name_key(found.name):
                also[name_key(other)] = name_key(found.name)
        return dataclasses.replace(self, also=also)

    def with_new(self, segments: Sequence[Segment]) -> CohortSegments:
        """With further segments, with values that are free."""
        total = list(self.segments)
        for segment in segments:
            taken = {s.value for s in total}
            value = segment.value
            if not 0 < value <= _MOST or value in taken:
                value = next((v for v in range(1, _MOST + 1) if v not in taken), 0)
            if not value:
                raise InputError(f"the cohort would have more than {_MOST} segments; leave some out")
            total.append(dataclasses.replace(segment, value=value, layer=0, tags={}))
        return dataclasses.replace(self, segments=tuple(sorted(total, key=lambda s: s.value)))


def paired(
    segmentation: Segmentation, cohort: CohortSegments, *, new: bool = False, where: str = "the segmentation"
) -> tuple[Segmentation, CohortSegments, list[str]]:
    """``segmentation`` with the names, values and colours of the cohort, the cohort with what is new, and notes.

    The first segmentation of a cohort tells its segments.

    :param new: segments that the cohort does not know are added to it.
    :param where: what to call the segmentation in messages.
    :raises UnknownSegmentsError: segments that the cohort does not know, without ``new``.
    :raises InputError: two segments that would be the same one.
    """
    drawn = [s for s in segmentation.segments if segmentation.mask(s).any()]
    unknown = cohort.unknown_in(segmentation)
    if unknown and cohort.segments and not new:
        names = [s.name for s in unknown]
        raise UnknownSegmentsError(
            f"{where} has {_listed(names)}, and the segments of the cohort are {', '.join(cohort.names)}. Tell once which is "
            f"which, with --same '{names[0]}={_free(cohort, drawn)}', or add them to the cohort with --new-segments",
            names, cohort.names,
        )  # fmt: skip
    cohort, notes = cohort.with_new(unknown), []
    homes: dict[int, str] = {}
    layers: list[np.ndarray] = []
    segments: list[Segment] = []
    for segment in drawn:
        home = cohort.find(segment.name)
        assert home is not None  # the cohort knows them all by now
        other = homes.setdefault(home.value, segment.name)
        if other != segment.name:
            raise InputError(
                f"{where} has {other!r} and {segment.name!r}, which are both {home.name!r}; merge or rename"
            )
        layer = put_in_layer(layers, segmentation.mask(segment), home.value)
        segments.append(dataclasses.replace(home, layer=layer, tags=segment.tags))
    renamed = [
        f"{a.name!r} is {b.name!r}"
        for a, b in zip(drawn, segments, strict=True)
        if name_key(a.name) != name_key(b.name)
    ]
    if renamed:
        notes.append(f"as was answered for this cohort, {', '.join(renamed)}")
    lacking = [s for s in cohort.segments if s.value not in homes]
    if lacking and drawn:
        notes.append(f"not drawn in {where} and taken as absent there: {', '.join(s.name for s in lacking)}")
    layers = layers or [np.zeros(segmentation.layers[0].shape, np.uint8)]
    segments += [dataclasses.replace(s, layer=0) for s in lacking]
    segments.sort(key=lambda s: s.value)
    return Segmentation(layers, segments, segmentation.ijk_to_ras), cohort, notes


def _free(cohort: CohortSegments, drawn: Sequence[Segment]) -> str:
    """A segment of the cohort that none of ``drawn`` is, for an example."""
    used = {found.value for s in drawn if (found := cohort.find(s.name))}
    return next((s.name for s in cohort.segments if s.value not in used), cohort.names[0])


def _listed(names: Sequence[str]) -> str:
    return ("a segment " if len(names) == 1 else "segments ") + ", ".join(map(repr, names))
