"""The Slicer module S3NetSegment: segmentation without drawing, from a few drawn slices, or with a trained model.

What Slicer asks for by name: the module, its widget, its logic (also the interface for scripts) and its test. The work is
done in ``S3NetSegmentLib``, of which only what needs nothing but Slicer is imported here: numpy and the engine come with the
first use, torch with the first need.
"""

import logging
import sys

import slicer
import vtk
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

from S3NetSegmentLib.panel.parameter_node import Mode, Preset, PropagateTo, S3NetSegmentParameterNode, Scope, SliceAxis  # noqa: F401
from S3NetSegmentLib.panel.startup import register_editor_effect, register_sample_data

HOMEPAGE = "https://github.com/S3NetSegment/SlicerS3NetSegment"


class S3NetSegment(ScriptedLoadableModule):
    """What Slicer shows of the module in its lists and its help."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("S3Net Segment")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        parent.dependencies = ["Segmentations", "Markups", "Volumes"]  # no translation
        parent.contributors = ["S3NetSegment developers (S3NetSegment project)"]  # no translation
        parent.helpText = _(
            "Segments an image without any drawing: drag a box around the object that you want or click into it, or press "
            "<b>Segment</b> for regions and the main object. Works on grey and colour images, slices and whole volumes. "
            "<b>Few-shot</b>: draw segments on one or a few slices and press <b>Propagate</b> for all other slices, or "
            "for another volume. "
            "<b>Models</b>: apply a trained model, add cases to a training folder, train a model from few labelled cases. "
            "<b>Cohort</b>: work through a folder of patients, each proposed from those that you have accepted. "
            "No data leave this computer.<p>See the <a href='{homepage}'>tutorial</a>.</p>"
        ).format(homepage=HOMEPAGE)
        parent.acknowledgementText = _(
            "Builds on S3-Net (self-supervised segmentation with inception large-kernel attention). "
            "Please cite the papers named on the <a href='{homepage}'>home page</a>."
        ).format(homepage=HOMEPAGE)
        slicer.app.connect("startupCompleted()", register_sample_data)
        slicer.app.connect("startupCompleted()", register_editor_effect)


class S3NetSegmentWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """Loads the .ui file and hands it, and the parameter node, to ``SegmentPanel``."""

    def __init__(self, parent=None, findRegions=None, makeFewShot=None):
        """``findRegions`` and ``makeFewShot``: engines to use instead of the real ones; for tests."""
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
        if getattr(self.parent, "isEntered", False):  # Slicer's Reload makes the panel anew and does not enter it
            self.panel.start()

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
        logic.segment(volumeNode, boxes=[roiNode])                 # the object in a box
        logic.segment(volumeNode, points=[(12.5, -30.0, 48.0)])    # the object at a point (RAS, mm)
        """
        return self._drained(self.segmentSteps(volumeNode, points, notPoints, **options))

    def segmentSteps(self, volumeNode, points=None, notPoints=None, **options):
        """The same as a generator of progress steps (``fraction``, ``message``), which returns the segmentation node.

        Nothing is written to the scene before the end; a dropped generator leaves no trace.

        :param volumeNode: scalar or vector volume, under linear transforms or none.
        :param points: markups node or positions (world RAS, mm) inside the object. None: regions and the main object.
        :param notPoints: the same for points outside it.
        :param boxes: ROI nodes around the object, or two opposite voxels (i, j, k, i, j, k), both included.
        :param strokes: curve nodes or lists of voxels through the object. ``notStrokes``: through what is outside it.
        :param keepOut: voxels of other visible segments of ``segmentationNode`` are no part of the object.
        :param radius: rough radius of the object in mm.
        :param scope: "volume", "range" (``sliceRange``), "slice" (of ``sliceNode``, or of the view last used) or "roi".
        :param sliceRange: first and last slice, counted from 0, both included.
        :param axis: direction across the slices: "x", "y", "z", or "auto" for the one with the largest spacing.
        :param segmentationNode: where to write; None makes a new node.
        :param segmentId: segment that takes the object; "" makes a new one.
        :param regions: number of regions; None: the middle one of those prepared.
        :param regionsOnly: leave the automatic object out.
        :param pixels: like ``points``, as voxels (i, j, k) counted from 0. ``notPixels``: like ``notPoints``.
        :param step: take the object that many steps larger (smaller). ``alternative``: one of the best answers, from 1.
        :param granularity: step of the object's ladder from 0; None: automatic.
        :param settings: name -> value of engine settings that differ from the preset.
        :param preset: "default", "paper" or "published".
        :param seed: random seed; None: that of the settings.
        :param device: "auto", "cpu", "cuda" or "mps".
        :param confidence: also make a volume of each voxel's confidence. ``allFrames``: of a sequence; a new segmentation follows them.
        :raises ValueError: input that cannot be used (the engine's InputError), saying why and what to do.
        """
        from S3NetSegmentLib.panel.script import segment_steps

        return segment_steps(volumeNode, {"points": points, "notPoints": notPoints, **options})

    def fewShot(self, volumeNode, segmentationNode, segmentIds=None, slices=None, otherVolumeNode=None, **options):
        """Carries what is drawn on a few slices of ``segmentationNode`` to all others; returns the segmentation node that
        holds the answer. See :meth:`fewShotSteps` for the options.

        logic = S3NetSegmentLogic()
        logic.fewShot(volumeNode, segmentationNode)                                    # into the same segments
        logic.fewShot(volumeNode, segmentationNode, slices=[10, 24, 31])               # 31 is drawn and holds nothing
        node = logic.fewShot(volumeNode, segmentationNode, otherVolumeNode=nextVolume) # to the next patient
        """
        steps = self.fewShotSteps(volumeNode, segmentationNode, segmentIds, slices, otherVolumeNode, **options)
        return self._drained(steps)

    def fewShotSteps(
        self, volumeNode, segmentationNode, segmentIds=None, slices=None, otherVolumeNode=None, axis="auto",
        partial=False, otherSegmentationNode=None, sliceRange=None, overlaps=False, settings=None, seed=None,
        encoder="auto", device="auto", confidence=False,
    ):  # fmt: skip
        """The same as a generator of progress steps (``fraction``, ``message``), which returns the segmentation node.

        Nothing is written to the scene before the end. Drawn slices and other segments keep their voxels.

        :param volumeNode: the volume that is drawn on, under linear transforms or none.
        :param segmentationNode: holds the drawing, and takes the answer unless there is another volume.
        :param segmentIds: the drawn segments; None: all.
        :param slices: numbers of the drawn slices along ``axis``, from 0, or slice view nodes that show them, also oblique
            ones. None: those drawn by hand; results count if named. "all": everything is drawn (for another volume).
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
        from S3NetSegmentLib.panel.script import few_shot_steps

        return few_shot_steps(
            volumeNode, segmentationNode, segmentIds, slices, axis, partial, otherVolumeNode, otherSegmentationNode,
            sliceRange, overlaps, settings, seed, encoder, device, confidence,
        )  # fmt: skip

    def applyModel(self, volumeNode, modelPath, segmentationNode=None, *further, **options):
        """Segments ``volumeNode`` with a trained model and returns the segmentation node; see :meth:`applyModelSteps`.

        S3NetSegmentLogic().applyModel(volumeNode, "runs/heart/model.pt")
        """
        return self._drained(self.applyModelSteps(volumeNode, modelPath, segmentationNode, *further, **options))

    def applyModelSteps(
        self, volumeNode, modelPath, segmentationNode=None, confidence=False, device="auto", flips=False, allFrames=False
    ):  # fmt: skip
        """The same as a generator of progress steps, see :meth:`segmentSteps`.

        :param modelPath: model file of a training run (``model.pt``), the folder of a cross-validation, or a list of files whose
            answers are averaged.
        :param segmentationNode: where to write; None makes a new node. What a model found there before under the same names
            is replaced, everything else stays.
        :param confidence: also make a volume of each voxel's confidence, shown over the image.
        :param device: "auto", "cpu", "cuda" or "mps".
        :param flips: also look at mirrored slices and average the answers, for models that were trained with the setting flip: twice as long.
        :param allFrames: of a volume that shows a frame of a sequence, segment every frame; the new segmentation follows them.
        :raises ValueError: input that cannot be used (the engine's InputError), saying why and what to do.
        """
        from S3NetSegmentLib.panel.models.controller import model_steps

        return model_steps(volumeNode, modelPath, segmentationNode, confidence, device, flips, allFrames)

    def runBatch(self, manifest, folder, resume=False, keepGoing=False, dryRun=False, **options):
        """Runs a batch one case after the other through the scene, which is emptied; returns 0 if all is done, else 1.

        :param manifest: as for ``s3net batch``: a .csv or .json file, or a folder of images.
        :param folder: where segmentations, records and report.html go.
        :param resume: skip the cases that are finished. ``keepGoing``: after a failed case, too. ``dryRun``: only check and plan.
        :param options: ``pattern``, ``defaults`` (column -> value), ``device``, ``say`` (takes lines of text).
        :raises ValueError: a manifest that cannot be run; ``problems`` holds everything that is wrong.
        """
        from S3NetSegmentLib.scene.batch import run_batch

        return run_batch(manifest, folder, resume=resume, keep_going=keepGoing, dry_run=dryRun, **options)

    def _drained(self, steps):
        """The result of ``steps``; their messages are logged."""
        from S3NetSegmentLib.engine import run_to_end

        shown = []

        def log(step):
            if step.message not in shown[-1:]:
                shown.append(step.message)
                logging.info("S3NetSegment: %3.0f %% %s", 100 * step.fraction, step.message)

        return run_to_end(steps, log)


class S3NetSegmentTest(ScriptedLoadableModuleTest):
    """Self test for ctest and for "Reload and Test", see ``self_test``."""

    def setUp(self):
        slicer.mrmlScene.Clear()

    def runTest(self):
        from S3NetSegmentLib.panel import self_test

        self_test.run(self, S3NetSegmentLogic)
