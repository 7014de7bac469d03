"""The panel's state in the scene: the parameter node and its choices. Read when Slicer starts, so nothing else is imported."""

import enum
from typing import Annotated

import slicer
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import Minimum, WithinRange, parameterNodeWrapper


class Scope(enum.Enum):
    """Which part of the volume is segmented; the values are those of the logic's ``scope``."""

    SLICE = "slice"
    RANGE = "range"
    VOLUME = "volume"
    ROI = "roi"

    def label(self):
        texts = {"slice": _("Current slice"), "range": _("Slice range"), "volume": _("Whole volume"), "roi": _("ROI")}
        return texts[self.value]


class SliceAxis(enum.Enum):
    """Direction across the slices of a range; the values are those of the logic's ``axis``."""

    AUTO = "auto"
    X = "x"
    Y = "y"
    Z = "z"

    def label(self):
        texts = {"auto": _("automatic"), "x": _("along i"), "y": _("along j"), "z": _("along k")}
        return texts[self.value]


class Preset(enum.Enum):
    DEFAULT = "default"
    PAPER = "paper"
    PUBLISHED = "published"

    def label(self):
        return {"default": _("Default"), "paper": _("Paper (slow)"), "published": _("Published (slow)")}[self.value]


class Mode(enum.Enum):
    SEGMENT = "segment"
    FEW_SHOT = "few-shot"
    MODELS = "models"
    COHORT = "cohort"

    def label(self):
        texts = {"segment": _("Segment"), "few-shot": _("Few-shot"), "models": _("Models"), "cohort": _("Cohort")}
        return texts[self.value]


class PropagateTo(enum.Enum):
    """Where drawn segments are looked for."""

    SLICE = "slice"
    VOLUME = "volume"
    OTHER = "other"

    def label(self):
        texts = {"slice": _("Current slice"), "volume": _("Whole volume"), "other": _("Another volume")}
        return texts[self.value]


@parameterNodeWrapper
class S3NetSegmentParameterNode:
    """The panel's state, saved with the scene.

    mode - Which use the panel shows.
    volume - The image.
    scope, firstSlice, lastSlice, axis, roi - The part of it that is segmented; slices are counted from 0, both included.
    insidePoints, outsidePoints, radius - Points in and out of the object, its rough radius in mm (0: not given).
    keepOut - Whether the object keeps out of other visible segments.
    segmentation, targetSegment - Where the segments are, and the id of the object's segment ("": a new one).
    granularity - Step on the object's ladder, -1: automatic.
    regionCount - Number of regions, 0: the middle one of those prepared.
    preset, settings - The engine's settings: a preset, and what differs from it, as JSON.
    confidence - Whether confidence is computed and shown, too.

    Few-shot:
    support, acceptedAnswer - The drawn slices, and the segments after the last accepted answer, as texts.
    propagateTo, otherVolume - Where the drawing is carried to.
    livePreview - Whether the shown slice is previewed while the user draws.
    fewShotConfidence - Whether the confidence of the answer is shown.
    encoder - "auto", "default", the name of published weights or the path of a model file.
    fewShotSettings - The engine's settings that differ from the defaults, as JSON.

    Models:
    runFolder - The folder of the training run that belongs to the scene; "": none.
    """

    mode: Mode = Mode.SEGMENT
    volume: slicer.vtkMRMLScalarVolumeNode
    scope: Scope = Scope.SLICE
    firstSlice: Annotated[int, Minimum(0)] = 0
    lastSlice: Annotated[int, Minimum(0)] = 0
    axis: SliceAxis = SliceAxis.AUTO
    roi: slicer.vtkMRMLMarkupsROINode
    insidePoints: slicer.vtkMRMLMarkupsFiducialNode
    outsidePoints: slicer.vtkMRMLMarkupsFiducialNode
    radius: Annotated[float, WithinRange(0, 500)] = 0.0
    keepOut: bool = True
    segmentation: slicer.vtkMRMLSegmentationNode
    targetSegment: str = ""
    granularity: int = -1
    regionCount: int = 0
    preset: Preset = Preset.DEFAULT
    settings: str = "{}"
    confidence: bool = False
    support: str = ""
    acceptedAnswer: str = ""
    propagateTo: PropagateTo = PropagateTo.VOLUME
    otherVolume: slicer.vtkMRMLScalarVolumeNode
    livePreview: bool = False
    fewShotConfidence: bool = False
    encoder: str = "auto"
    fewShotSettings: str = "{}"
    runFolder: str = ""
