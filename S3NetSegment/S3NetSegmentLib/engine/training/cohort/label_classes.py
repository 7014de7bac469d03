"""The classes of a cohort: what the segments of its label files mean, alike for all cases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from ...common.arrays import three
from ...common.errors import InputError
from ...images import Segment
from ...images.colors import label_colors
from ...images.label_names import LabelName
from ...images.segmentation import name_key


@dataclass(frozen=True)
class LabelClass:
    """A structure that a model finds.

    :param value: its value in label maps of the cohort.
    :param color: red, green, blue, each 0 to 1.
    :param terminology: Slicer's serialized terminology entry, or "".
    """

    name: str
    value: int
    color: tuple[float, float, float]
    terminology: str = ""

    @property
    def is_unnamed(self) -> bool:
        """Whether it is only a value of label maps without names, see :attr:`Segment.is_unnamed`."""
        return Segment(self.name, self.color, self.value).is_unnamed

    def as_dict(self) -> dict:
        return asdict(self) | {"color": list(self.color)}


def listed_classes(entries: list | None) -> tuple[LabelClass, ...]:
    """The classes that cohort.json lists; () if it does not. Raises InputError for wrong entries."""
    if entries and len(entries) > 254:
        raise InputError(f"cohort.json lists {len(entries):,} classes; 254 are possible")
    classes: list[LabelClass] = []
    colors = label_colors(len(entries or ()))
    for number, entry in enumerate(entries or (), 1):
        entry = {"name": entry} if isinstance(entry, str) else entry
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str) or not entry["name"].strip():
            raise InputError(f"class {number} of cohort.json has no name; write {{'name': 'liver', 'value': {number}}}")
        value = entry.get("value", number)
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 65535:
            raise InputError(f"class {entry['name']!r} of cohort.json has value {value!r}; it must be 1 to 65535")
        color = _color(entry.get("color"), entry["name"]) or colors[number - 1]
        classes.append(LabelClass(entry["name"].strip(), value, color, str(entry.get("terminology", ""))))
    for what in ("name", "value"):
        values = [name_key(c.name) if what == "name" else c.value for c in classes]
        twice = next((v for v in values if values.count(v) > 1), None)
        if twice is not None:
            raise InputError(f"two classes of cohort.json have the {what} {twice!r}; make them differ")
    return tuple(classes)


def named_classes(
    names: Mapping[int, LabelName], segments: Mapping[str, Sequence[Segment]], names_file: str
) -> tuple[LabelClass, ...]:
    """The classes of label maps with these ``segments`` (by case), as ``names`` calls their values; () without segments.

    :raises InputError: segments with names of their own, or a value that ``names`` does not have.
    """
    for case, found in segments.items():
        for segment in found:
            if not segment.is_unnamed:
                raise InputError(
                    f"the label file of case {case!r} has names of its own ({segment.name}, ...), and {names_file!r} is for label "
                    "maps without; leave it out"
                )
            if segment.value not in names:
                raise InputError(
                    f"the label file of case {case!r} has the label {segment.value}, which {names_file!r} does not name; add it there"
                )
    values = {s.value for found in segments.values() for s in found}
    chosen = [(value, entry) for value, entry in names.items() if value in values]
    return tuple(
        LabelClass(entry.name, value, entry.color or color)
        for (value, entry), color in zip(chosen, label_colors(len(chosen)), strict=True)
    )


def common_classes(
    segments: Mapping[str, Sequence[Segment]], listed: Sequence[LabelClass], notes: list[str]
) -> tuple[LabelClass, ...]:
    """The classes of label files with these ``segments`` (by case): the ``listed`` ones, else those that the files tell.

    A structure that a case lacks is taken as absent there, which ``notes`` says.

    :raises InputError: a segment that is not listed; without a list, cases with names of their own, or named segments in
        some files and bare label maps in others.
    """
    if listed:
        for case, found in segments.items():
            class_values(found, listed, case)
        classes = tuple(listed)
    else:
        classes = _told_by_files(segments)
    for c in classes:
        lacking = [case for case, found in segments.items() if c not in _classes_of(found, classes)]
        if lacking and segments:
            notes.append(
                f"{c.name!r} is not drawn in {len(lacking)} of {len(segments)} labelled cases ({', '.join(lacking[:4])}"
                f"{', ...' if len(lacking) > 4 else ''}) and counts as absent there"
            )
    return classes


def class_values(segments: Sequence[Segment], classes: Sequence[LabelClass], case: str) -> list[int]:
    """For each segment the number of its class, 1 for the first. Raises InputError if it is none of ``classes``."""
    numbers = []
    for segment in segments:
        found = _class_of(segment, classes)
        if found is None:
            raise InputError(
                f"the label file of case {case!r} has a segment {segment.name!r} (value {segment.value}), which is none of the "
                f"classes {', '.join(c.name for c in classes)}; rename it, or list all classes in cohort.json"
            )
        numbers.append(classes.index(found) + 1)
    return numbers


def _told_by_files(segments: Mapping[str, Sequence[Segment]]) -> tuple[LabelClass, ...]:
    named = {case: found for case, found in segments.items() if not all(s.is_unnamed for s in found)}
    if not named:
        values = sorted({s.value for found in segments.values() for s in found})
        classes = [LabelClass(f"Segment {v}", v, c) for v, c in zip(values, label_colors(len(values)), strict=True)]
    else:
        bare = [case for case, found in segments.items() if found and case not in named]
        if bare:
            raise InputError(
                f"the label file of case {bare[0]!r} is a label map without names, that of case {next(iter(named))!r} has named "
                'segments; say what the values mean in cohort.json: {"classes": [{"name": ..., "value": ...}, ...]}'
            )
        _check_alike(named)
        classes = []
        for found in named.values():
            for segment in found:
                if name_key(segment.name) not in {name_key(c.name) for c in classes}:
                    classes.append(
                        LabelClass(segment.name.strip(), len(classes) + 1, segment.color, segment.terminology)
                    )
    if len(classes) > 254:
        raise InputError(f"the label files hold {len(classes)} different segments; 254 are possible. Are they labels?")
    return tuple(classes)


def _check_alike(named: Mapping[str, Sequence[Segment]]) -> None:
    """Refuses two cases that each have a name which the other lacks: the same structure under two names."""
    sets = {case: {name_key(s.name) for s in found} for case, found in named.items()}
    full = max(sets, key=lambda case: len(sets[case]))
    for case, names in sets.items():
        if names - sets[full] and sets[full] - names:
            shown = [", ".join(sorted(s.name for s in named[c])) for c in (full, case)]
            raise InputError(
                f"the class names differ between cases: {full!r} has {shown[0]}, {case!r} has {shown[1]}. Rename the segments "
                "alike, or list all classes in cohort.json if different structures are meant"
            )


def _classes_of(segments: Sequence[Segment], classes: Sequence[LabelClass]) -> set[LabelClass]:
    return {found for s in segments if (found := _class_of(s, classes)) is not None}


def _class_of(segment: Segment, classes: Sequence[LabelClass]) -> LabelClass | None:
    by_name = next((c for c in classes if name_key(c.name) == name_key(segment.name)), None)
    if by_name is None and segment.is_unnamed:
        return next((c for c in classes if c.value == segment.value), None)
    return by_name


def _color(value, name: str) -> tuple[float, float, float] | None:
    if value is None:
        return None
    try:
        if isinstance(value, str):
            parts = [int(value.lstrip("#")[n : n + 2], 16) / 255 for n in (0, 2, 4)]
        else:
            parts = [float(v) for v in value]
    except (TypeError, ValueError):
        parts = []
    if len(parts) != 3 or not all(0 <= p <= 1 for p in parts):
        raise InputError(f"class {name!r} of cohort.json has colour {value!r}; write [red, green, blue], each 0 to 1")
    return three(parts)
