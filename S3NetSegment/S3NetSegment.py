"""The Slicer module S3NetSegment: segmentation without drawing, or from a few drawn slices.

The work is done in ``S3NetSegmentLib``.

Nothing but Slicer itself is imported here; numpy and the engine come with the first use, torch with the first need.
"""

import enum
import json
import logging
import os
import sys
from typing import Annotated

import slicer
import vtk
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import Minimum, WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

HOMEPAGE = "https://github.com/S3NetSegment/SlicerS3NetSegment"


class S3NetSegment(ScriptedLoadableModule):
    """What Slicer shows of the module in its lists and its help."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("S3Net Segment")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        parent.dependencies = ["Segmentations", "Markups", "Volumes"]
        parent.contributors = ["S3NetSegment developers"]
        parent.helpText = _(
            "Segments an image without any drawing: press <b>Segment</b> for its regions and main object, or place a "
            "point inside the object that you want. Works on grey and colour images, slices and whole volumes. "
            "<b>Few-shot</b>: draw segments on one or a few slices and press <b>Propagate</b> for all other slices, or "
            "for another volume. "
            "<b>Models</b>: apply a trained model, save cases to a cohort, train a model from few labelled cases. "
            "No data leave this computer.<p>See the <a href='{homepage}'>tutorial</a>.</p>"
        ).format(homepage=HOMEPAGE)
        parent.acknowledgementText = _(
            "Builds on S3-Net (self-supervised segmentation with inception large-kernel attention). "
            "Please cite the papers named on the <a href='{homepage}'>home page</a>."
        ).format(homepage=HOMEPAGE)
        slicer.app.connect("startupCompleted()", register_sample_data)
        slicer.app.connect("startupCompleted()", register_editor_effect)


def register_editor_effect() -> None:
    """Makes "Few-shot" one of the effects of Slicer's Segment Editor."""
    import qSlicerSegmentationsEditorEffectsPythonQt as effects

    here = os.path.dirname(os.path.abspath(__file__))
    source = os.path.join(here, "SegmentEditorFewShotLib", "SegmentEditorFewShotEffect.py")
    effect = effects.qSlicerSegmentEditorScriptedEffect(None)
    effect.setPythonSource(source.replace("\\", "/"))
    effect.self().register()


def sample_data_folder() -> str | None:
    """The shipped samples: beside the installed module, or in the source tree above it; None without them."""
    here = os.path.dirname(os.path.abspath(__file__))
    for root in (here, os.path.dirname(here)):
        folder = os.path.join(root, "Resources", "SampleData")
        if os.path.isfile(os.path.join(folder, "samples.json")):
            return folder
    return None


def register_sample_data() -> None:
    """Lists the shipped samples in Slicer's Sample Data module; they are local files, nothing is downloaded."""
    folder = sample_data_folder()
    if folder is None:
        return
    import pathlib

    import SampleData

    with open(os.path.join(folder, "samples.json"), encoding="utf8") as file:
        samples = json.load(file)
    for sample in samples:
        path = pathlib.Path(folder, sample["image"])
        SampleData.SampleDataLogic.registerCustomSampleDataSource(
            category="S3NetSegment",
            sampleName=sample["title"],
            uris=path.resolve().as_uri(),
            fileNames="S3NetSegment-" + path.name,  # the name in Slicer's cache, shared by all extensions
            nodeNames=sample["title"],
            loadFileTypes="VolumeFile",
            loadFileProperties={"singleFile": True},  # a picture, not the first of a series
        )


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
    """Named settings of the engine."""

    DEFAULT = "default"
    PAPER = "paper"

    def label(self):
        return {"default": _("Default"), "paper": _("Paper (slow)")}[self.value]


class Mode(enum.Enum):
    """The uses of the panel."""

    SEGMENT = "segment"
    FEW_SHOT = "few-shot"
    MODELS = "models"

    def label(self):
        return {"segment": _("Segment"), "few-shot": _("Few-shot"), "models": _("Models")}[self.value]


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


class S3NetSegmentWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """Loads the .ui file and hands it, and the parameter node, to ``SegmentPanel``."""

    def __init__(self, parent=None, findRegions=None, makeFewShot=None):
        """
        :param findRegions, makeFewShot: engines to use instead of the real ones; for tests.
        """
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self._findRegions, self._makeFewShot = findRegions, makeFewShot
        self.logic = None
        self.panel = None
        self._parameterNode = None
        self._parameterNodeGuiTag = None

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        from S3NetSegmentLib.panel.segment_panel import SegmentPanel

        uiWidget = slicer.util.loadUI(self.resourcePath("UI/S3NetSegment.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = S3NetSegmentLogic()
        self.panel = SegmentPanel(uiWidget, self.ui, self._findRegions, self._makeFewShot)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndImportEvent, self.onSceneEndClose)
        self.initializeParameterNode()

    def cleanup(self):
        self.setParameterNode(None)
        self.removeObservers()
        if self.panel is not None:
            self.panel.cleanup()

    def enter(self):
        self.initializeParameterNode()
        self.panel.start()

    def exit(self):
        self.panel.stop()
        if self._parameterNode is not None:
            self._disconnectGui()

    def onReload(self):
        """Also loads the library anew, which Slicer's own reload leaves as it is."""
        for name in [name for name in sys.modules if name.split(".")[0] == "S3NetSegmentLib"]:
            del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)

    def onSceneStartClose(self, caller, event):
        self.setParameterNode(None)

    def onSceneEndClose(self, caller, event):
        if self.parent.isEntered:
            self.initializeParameterNode()

    def initializeParameterNode(self):
        """Finds or makes the scene's parameter node; selects the first volume if none is selected."""
        self.setParameterNode(self.logic.getParameterNode())
        if self._parameterNode.volume is None:
            volume = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode")
            if volume is not None and not volume.IsA("vtkMRMLLabelMapVolumeNode"):
                self._parameterNode.volume = volume

    def setParameterNode(self, parameterNode):
        """Shows and observes ``parameterNode``; None while there is no scene to work on."""
        if self._parameterNode is not None:
            self._disconnectGui()
        self._parameterNode = parameterNode
        if parameterNode is not None:
            self._parameterNodeGuiTag = parameterNode.connectGui(self.ui)
            self.addObserver(parameterNode, vtk.vtkCommand.ModifiedEvent, self._showParameterNode)
        if self.panel is not None:
            self.panel.show(parameterNode)

    def _disconnectGui(self):
        if self._parameterNodeGuiTag is not None:
            self._parameterNode.disconnectGui(self._parameterNodeGuiTag)
            self._parameterNodeGuiTag = None
            self.removeObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self._showParameterNode)

    def _showParameterNode(self, caller=None, event=None):
        if self._parameterNode is not None:
            self.panel.show(self._parameterNode)


class S3NetSegmentLogic(ScriptedLoadableModuleLogic):
    """Segment, Few-shot and trained models without a panel: for scripts, batches and tests. Raises errors instead of showing them."""

    def getParameterNode(self):
        return S3NetSegmentParameterNode(super().getParameterNode())

    def segment(self, volumeNode, points=None, notPoints=None, **options):
        """Segments ``volumeNode`` and returns the segmentation node; see :meth:`segmentSteps` for the options.

        logic = S3NetSegmentLogic()
        logic.segment(volumeNode)                                  # regions and the main object
        logic.segment(volumeNode, points=[(12.5, -30.0, 48.0)])    # the object at a point (RAS, mm)
        """
        return self._drained(self.segmentSteps(volumeNode, points, notPoints, **options))

    def segmentSteps(
        self,
        volumeNode,
        points=None,
        notPoints=None,
        radius=None,
        scope="volume",
        sliceRange=None,
        axis="auto",
        sliceNode=None,
        roiNode=None,
        segmentationNode=None,
        segmentId="",
        regions=None,
        granularity=None,
        settings=None,
        preset="default",
        seed=None,
        device="auto",
        confidence=False,
    ):
        """The same as a generator of progress steps (``fraction``, ``message``), which returns the segmentation node.

        Nothing is written to the scene before the end; a dropped generator leaves no trace.

        :param volumeNode: scalar or vector volume, under linear transforms or none.
        :param points: markups node or positions (world RAS, mm) inside the object. None: regions and the main object.
        :param notPoints: the same for points outside it.
        :param radius: rough radius of the object in mm.
        :param scope: "volume", "range" (``sliceRange``), "slice" (of ``sliceNode``, or of the view last used) or "roi".
        :param sliceRange: first and last slice, counted from 0, both included.
        :param axis: direction across the slices: "x", "y", "z", or "auto" for the one with the largest spacing.
        :param segmentationNode: where to write; None makes a new node.
        :param segmentId: segment that takes the object; "" makes a new one.
        :param regions: number of regions; None: the middle one of those prepared.
        :param granularity: step of the object's ladder from 0; None: automatic.
        :param settings: name -> value of engine settings that differ from the preset.
        :param preset: "default" or "paper".
        :param seed: random seed; None: that of the settings.
        :param device: "auto", "cpu", "cuda" or "mps".
        :param confidence: also make a volume of each voxel's confidence, shown over the image.
        :raises ValueError: input that cannot be used (the engine's InputError), saying why and what to do.
        """
        from S3NetSegmentLib.engine.methods.segment import find_regions
        from S3NetSegmentLib.panel.answer import SegmentAnswer
        from S3NetSegmentLib.panel.request import make_request
        from S3NetSegmentLib.panel.result import SegmentResult
        from S3NetSegmentLib.panel.settings_values import settings_from

        changes = dict(settings or {})
        if seed is not None:
            changes["seed"] = seed
        request = make_request(
            volumeNode,
            scope,
            slice_node=sliceNode,
            slice_range=sliceRange,
            axis=axis,
            roi_node=roiNode,
            inside=points,
            outside=notPoints,
            radius_mm=radius,
            settings=settings_from(preset, changes),
            preset=preset,
            device=device,
        )
        if regions is not None and "region_counts" not in changes and regions not in request.settings.region_counts:
            changes["region_counts"] = (*request.settings.region_counts, regions)
            request = request.with_settings(settings_from(preset, changes))
        found = yield from find_regions(
            request.volume, extent=request.extent, axis=request.axis, settings=request.settings, device=device
        )
        for note in found.notes:
            logging.info("S3NetSegment: %s", note)
        result = SegmentResult(SegmentAnswer(request, found, regions, granularity), segmentationNode, segmentId)
        if confidence:
            result.show_confidence()
        return result.node

    def fewShot(self, volumeNode, segmentationNode, segmentIds=None, slices=None, otherVolumeNode=None, **options):
        """Carries what is drawn on a few slices of ``segmentationNode`` to all others; returns the segmentation node that
        holds the answer. See :meth:`fewShotSteps` for the options.

        logic = S3NetSegmentLogic()
        logic.fewShot(volumeNode, segmentationNode)                                    # into the same segments
        logic.fewShot(volumeNode, segmentationNode, slices=[10, 24, 31])               # 31 is drawn and holds nothing
        node = logic.fewShot(volumeNode, segmentationNode, otherVolumeNode=nextVolume) # to the next patient
        """
        return self._drained(
            self.fewShotSteps(volumeNode, segmentationNode, segmentIds, slices, otherVolumeNode, **options)
        )

    def fewShotSteps(
        self,
        volumeNode,
        segmentationNode,
        segmentIds=None,
        slices=None,
        otherVolumeNode=None,
        axis="auto",
        partial=False,
        otherSegmentationNode=None,
        sliceRange=None,
        overlaps=False,
        settings=None,
        seed=None,
        encoder="auto",
        device="auto",
        confidence=False,
    ):
        """The same as a generator of progress steps (``fraction``, ``message``), which returns the segmentation node.

        Nothing is written to the scene before the end. Drawn slices and other segments keep their voxels.

        :param volumeNode: the volume that is drawn on, under linear transforms or none.
        :param segmentationNode: holds the drawing, and takes the answer unless there is another volume.
        :param segmentIds: the drawn segments; None: all.
        :param slices: numbers of the drawn slices along ``axis``, from 0, or slice view nodes that show them, also oblique
            ones. None: those that hold labels. "all": everything is drawn (for another volume).
        :param otherVolumeNode: the drawing is taken to this volume instead.
        :param axis: direction across the slices: "x", "y", "z", or "auto" for the one along which the fewest hold labels.
        :param partial: only what lies near the drawing is background on a drawn slice, not everything without a label.
        :param otherSegmentationNode: takes the answer in ``otherVolumeNode``; None makes a new node.
        :param sliceRange: first and last slice to answer, both included; None: all.
        :param overlaps: whether the answer may lie over other segments.
        :param settings: name -> value of engine settings (FewShotSettings) that differ from the default.
        :param seed: random seed; None: that of the settings.
        :param encoder: "auto", "default" (none), the name of stored weights ("dinov2-..."), or a file.
        :param device: "auto", "cpu", "cuda" or "mps".
        :param confidence: also make a volume of each voxel's confidence, shown over the image.
        :raises ValueError: input that cannot be used (the engine's InputError), saying why and what to do.
        """
        from S3NetSegmentLib.panel.few_shot_script import few_shot_steps

        return few_shot_steps(
            volumeNode,
            segmentationNode,
            segmentIds,
            slices,
            axis,
            partial,
            otherVolumeNode,
            otherSegmentationNode,
            sliceRange,
            overlaps,
            settings,
            seed,
            encoder,
            device,
            confidence,
        )

    def applyModel(self, volumeNode, modelPath, segmentationNode=None, confidence=False, device="auto"):
        """Segments ``volumeNode`` with a trained model; returns the segmentation node. Raises errors instead of showing them.

        logic = S3NetSegmentLogic()
        logic.applyModel(volumeNode, "runs/heart/model.pt")

        :param modelPath: model file of a training run (``model.pt``).
        :param segmentationNode: where to write; None makes a new node. What a model found there before under the same names
            is replaced, everything else stays.
        :param confidence: also make a volume of each voxel's confidence, shown over the image.
        :param device: "auto", "cpu", "cuda" or "mps".
        :raises ValueError: input that cannot be used (the engine's InputError), saying why and what to do.
        """
        return self._drained(self.applyModelSteps(volumeNode, modelPath, segmentationNode, confidence, device))

    def applyModelSteps(self, volumeNode, modelPath, segmentationNode=None, confidence=False, device="auto"):
        """The same as a generator of progress steps (``fraction``, ``message``), which returns the segmentation node.

        Nothing is written to the scene before the end; a dropped generator leaves no trace.
        """
        from S3NetSegmentLib.panel.models_controller import apply_model_steps, make_model_request, show_model_confidence
        from S3NetSegmentLib.scene.model_answer import write_model_answer

        request = make_model_request(os.fspath(modelPath), volumeNode, segmentationNode, confidence, device)
        answer, segmentation = yield from apply_model_steps(request)
        for note in answer.notes:
            logging.info("S3NetSegment: %s", note)
        node, _ids = write_model_answer(segmentation, volumeNode, segmentationNode)
        if confidence:
            show_model_confidence(request, answer)
        return node

    def runBatch(self, manifest, folder, resume=False, keepGoing=False, dryRun=False, **options):
        """Runs a batch one case after the other through the scene, which is emptied; returns 0 if all is done, else 1.

        :param manifest: as for ``s3net batch``: a .csv or .json file, or a folder of images.
        :param folder: where segmentations, records and report.html go.
        :param resume: skip the cases that are finished.
        :param keepGoing: go on after a failed case.
        :param dryRun: only check and print the plan.
        :param options: ``pattern``, ``defaults`` (column -> value), ``device``, ``say`` (takes lines of text).
        :raises ValueError: a manifest that cannot be run; ``problems`` holds everything that is wrong.
        """
        from S3NetSegmentLib.scene.batch import run_batch

        return run_batch(manifest, folder, resume=resume, keep_going=keepGoing, dry_run=dryRun, **options)

    def _drained(self, steps):
        """The result of ``steps``; their messages are logged."""
        shown = ""
        while True:
            try:
                step = next(steps)
            except StopIteration as stop:
                return stop.value
            if step.message != shown:
                shown = step.message
                logging.info("S3NetSegment: %3.0f %% %s", 100 * step.fraction, shown)


class S3NetSegmentTest(ScriptedLoadableModuleTest):
    """Self test for ctest and for "Reload and Test": real work on a small synthetic volume, with and without torch."""

    def setUp(self):
        slicer.mrmlScene.Clear()

    def runTest(self):
        for test in (
            self.test_points_make_an_object,
            self.test_regions_without_points,
            self.test_network,
            self.test_few_shot,
            self.test_parameters_survive,
        ):
            self.setUp()
            self.delayDisplay(test.__name__.replace("_", " "))
            test()
        self.delayDisplay("S3NetSegment self test passed")

    def test_points_make_an_object(self):
        """A point in a bright ball gives that ball, in place, and nothing else in the scene."""
        volumeNode, ball = self.makeVolume()
        node = S3NetSegmentLogic().segment(volumeNode, points=[(6.0, 8.0, 9.0)])
        self.assertEqual(node.GetSegmentation().GetNumberOfSegments(), 1)
        segmentId = node.GetSegmentation().GetNthSegmentID(0)
        found = slicer.util.arrayFromSegmentBinaryLabelmap(node, segmentId, volumeNode) > 0
        dice = 2 * (found & ball).sum() / (found.sum() + ball.sum())
        self.assertGreater(dice, 0.9)

    def test_regions_without_points(self):
        """Without points there are as many regions as asked for, without gaps or overlaps."""
        volumeNode, _ball = self.makeVolume()
        node = S3NetSegmentLogic().segment(volumeNode, regions=3, scope="range", sliceRange=(8, 10), axis="z")
        segmentation = node.GetSegmentation()
        ids = [i for i in segmentation.GetSegmentIDs() if segmentation.GetSegment(i).GetName().startswith("Region")]
        self.assertEqual(len(ids), 3)
        total = sum((slicer.util.arrayFromSegmentBinaryLabelmap(node, i, volumeNode) > 0).astype(int) for i in ids)
        self.assertTrue((total[8:11] == 1).all())
        self.assertFalse(total[:8].any())

    def test_network(self):
        """S3-Net gives the same labels twice. Needs torch; without it this part says that it is left out."""
        from S3NetSegmentLib.panel.torch_support import has_torch

        if not has_torch():
            self.delayDisplay("torch is not installed: the test of S3-Net is LEFT OUT")
            return
        volumeNode, _ball = self.makeVolume()
        options = {"scope": "range", "sliceRange": (9, 9), "axis": "z", "regions": 2, "device": "cpu"}
        options["settings"] = {"sources": "s3net", "steps": 3, "restarts": 1}
        arrays = []
        for _run in range(2):
            node = S3NetSegmentLogic().segment(volumeNode, **options)
            segmentId = node.GetSegmentation().GetSegmentIdBySegmentName("Region 1")
            arrays.append(slicer.util.arrayFromSegmentBinaryLabelmap(node, segmentId, volumeNode))
        self.assertTrue((arrays[0] == arrays[1]).all())
        self.assertTrue(arrays[0].any())

    def test_few_shot(self):
        """Two drawn slices of a ball give the ball; they stay as they are. Needs torch, as :meth:`test_network`."""
        from S3NetSegmentLib.panel.torch_support import has_torch

        if not has_torch():
            self.delayDisplay("torch is not installed: the test of Few-shot is LEFT OUT")
            return
        volumeNode, ball = self.makeVolume()
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
        node.SetReferenceImageGeometryParameterFromVolumeNode(volumeNode)
        segmentId = node.GetSegmentation().AddEmptySegment("ball", "Ball")
        drawing = ball * 0
        drawing[[8, 12]] = ball[[8, 12]]
        slicer.util.updateSegmentBinaryLabelmapFromArray(drawing.astype("uint8"), node, segmentId, volumeNode)
        answered = S3NetSegmentLogic().fewShot(volumeNode, node, encoder="default", device="cpu")
        self.assertIs(answered, node)
        found = slicer.util.arrayFromSegmentBinaryLabelmap(node, segmentId, volumeNode) > 0
        self.assertTrue((found[[8, 12]] == ball[[8, 12]]).all())
        dice = 2 * (found & ball).sum() / (found.sum() + ball.sum())
        self.assertGreater(dice, 0.8)

    def test_parameters_survive(self):
        """The parameter node keeps what was set."""
        volumeNode, _ball = self.makeVolume()
        parameterNode = S3NetSegmentLogic().getParameterNode()
        parameterNode.volume = volumeNode
        parameterNode.scope = Scope.RANGE
        parameterNode.settings = '{"seed": 7}'
        again = S3NetSegmentLogic().getParameterNode()
        self.assertIs(again.volume, volumeNode)
        self.assertEqual((again.scope, again.settings), (Scope.RANGE, '{"seed": 7}'))

    def makeVolume(self):
        """``(volume node, ball)``: 32 x 28 x 20 voxels of 1 x 1 x 1.5 mm with noise and a bright ball, and its mask."""
        import numpy as np

        k, j, i = np.mgrid[:20, :28, :32]
        # The point (6, 8, 9) mm of the test is in its centre: IJK to RAS is the spacing alone, moved by (-10, -6, -6).
        ball = (i - 16.0) ** 2 + (j - 14.0) ** 2 + (1.5 * (k - 10.0)) ** 2 < 49
        array = (100 + 200 * ball + np.random.default_rng(1).normal(0, 12, ball.shape)).astype(np.int16)
        volumeNode = slicer.util.addVolumeFromArray(array, name="Ball")
        volumeNode.SetSpacing(1.0, 1.0, 1.5)
        volumeNode.SetOrigin(-10.0, -6.0, -6.0)
        volumeNode.CreateDefaultDisplayNodes()
        return volumeNode, ball
