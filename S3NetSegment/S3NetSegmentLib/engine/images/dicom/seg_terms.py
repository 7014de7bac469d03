"""What a DICOM SEG says of each segment, and how that follows from Slicer's terminology entries and back.

A terminology entry is "context~category~type~type modifier~region context~region~region modifier", each term written as
"scheme^value^meaning". A segment without one is called "Tissue" (SNOMED CT 85756007), as Slicer calls its new segments.
"""

from __future__ import annotations

import numpy as np

from .... import __version__
from ...common.provenance import facts_of
from ..colors import lab_from_rgb, rgb_from_lab
from ..segmentation import Segment
from .elements import Elements

Term = tuple[str, str, str]  # value, scheme, meaning
_TISSUE: Term = ("85756007", "SCT", "Tissue")
_CONTEXT, _REGIONS = "Segmentation category and type - DICOM master list", "Anatomic codes - DICOM master list"
_CATEGORY, _TYPE, _TYPE_MODIFIER, _REGION, _REGION_MODIFIER = (
    "SegmentedPropertyCategoryCodeSequence",
    "SegmentedPropertyTypeCodeSequence",
    "SegmentedPropertyTypeModifierCodeSequence",
    "AnatomicRegionSequence",
    "AnatomicRegionModifierSequence",
)


def segment_description(number: int, segment: Segment, algorithm_name: str):
    """highdicom's description of ``segment``."""
    import highdicom
    from pydicom.sr.codedict import codes

    def code(term: Term):
        return highdicom.sr.CodedConcept(*term)

    category, kind, modifier, region, region_modifier = terms_of(segment.terminology)
    facts = facts_of(segment.tags)
    by_itself = "Method" in facts and not {"Points", "Support"} & set(facts)
    types = highdicom.seg.SegmentAlgorithmTypeValues
    made = highdicom.seg.SegmentDescription(
        segment_number=number,
        segment_label=" ".join(segment.name.replace("\\", "/").split())[:64] or f"Segment {number}",
        segmented_property_category=code(category),
        segmented_property_type=code(kind),
        algorithm_type=types.AUTOMATIC if by_itself else types.SEMIAUTOMATIC,
        algorithm_identification=highdicom.AlgorithmIdentificationSequence(
            name=f"{algorithm_name} {facts.get('Method', '')}".strip()[:64],
            version=facts.get("Version", __version__)[:64],
            family=codes.cid7162.ArtificialIntelligence,
            parameters={k: v for k, v in facts.items() if k not in ("Method", "Version")} or None,
        ),
        anatomic_regions=[code(region)] if region else None,
    )
    if modifier:
        made.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [code(modifier)]
    if region and region_modifier:
        made.AnatomicRegionSequence[0].AnatomicRegionModifierSequence = [code(region_modifier)]
    made.RecommendedDisplayCIELabValue = cielab(segment.color)
    return made


def terms_of(terminology: str) -> tuple[Term, Term, Term | None, Term | None, Term | None]:
    """Category, type, type modifier, region and region modifier of a terminology entry; tissue without category or type."""
    parts = [*terminology.split("~"), *[""] * 7]
    category, kind, modifier, region, region_modifier = (_term(parts[n]) for n in (1, 2, 3, 5, 6))
    if category is None or kind is None:
        return _TISSUE, _TISSUE, None, None, None
    return category, kind, modifier, region, region_modifier


def terminology_of(item: Elements) -> str:
    """The terminology entry of an item of the Segment Sequence."""
    kind, region = item.item(_TYPE), item.item(_REGION)
    terms = [_written(e) for e in (item.item(_CATEGORY), kind, kind.item(_TYPE_MODIFIER))]
    places = [_written(e) for e in (region, region.item(_REGION_MODIFIER))]
    return "~".join([_CONTEXT, *terms, _REGIONS, *places]) if terms[1] != "^^" else ""


def _term(text: str) -> Term | None:
    scheme, _, rest = text.partition("^")
    value, _, meaning = rest.partition("^")
    short = len(value) <= 16 and len(scheme) <= 16  # what a short string of DICOM holds
    return (value, scheme, meaning[:64]) if scheme and value and meaning and short else None


def _written(code: Elements) -> str:
    value = code.text("CodeValue") or code.text("LongCodeValue")
    return f"{code.text('CodingSchemeDesignator')}^{value}^{code.text('CodeMeaning')}"


def cielab(color: tuple[float, float, float]) -> list[int]:
    """sRGB (0 to 1) as DICOM's scaled CIE L*a*b* (PS3.3 C.10.7.1.1), white point D65."""
    lightness, a, b = map(float, lab_from_rgb(color))
    scaled = (lightness * 65535 / 100, (a + 128) * 65535 / 255, (b + 128) * 65535 / 255)
    return [int(np.clip(round(v), 0, 65535)) for v in scaled]


def srgb(scaled: list[float]) -> tuple[float, float, float] | None:
    """What :func:`cielab` made a colour of, as sRGB 0 to 1; None if these are not three values."""
    if len(scaled) != 3:
        return None
    lab = (scaled[0] * 100 / 65535, scaled[1] * 255 / 65535 - 128, scaled[2] * 255 / 65535 - 128)
    red, green, blue = (round(float(c), 3) for c in rgb_from_lab(lab))
    return red, green, blue
