"""The Segment Editor effect "Few-shot", as Slicer wants it: named after its file, in a folder of its own.

Slicer makes a module of this folder's name from this file, so nothing can be imported relative to it. The work is done in
``S3NetSegmentLib.panel.few_shot.effect``, which is imported when the effect is first chosen.
"""

import os

import qt
from SegmentEditorEffects import AbstractScriptedSegmentEditorEffect
from slicer.i18n import tr as _


class SegmentEditorFewShotEffect(AbstractScriptedSegmentEditorEffect):
    """Carries what is drawn on a few slices to all others."""

    def __init__(self, scriptedEffect):
        scriptedEffect.name = "Few-shot"  # names its parameters; not translated
        scriptedEffect.title = _("Few-shot")
        scriptedEffect.perSegment = False  # all segments at once
        scriptedEffect.showEffectCursorInSliceView = False
        AbstractScriptedSegmentEditorEffect.__init__(self, scriptedEffect)
        self.frame = None
        self._place = None

    def clone(self):
        import qSlicerSegmentationsEditorEffectsPythonQt as effects

        clonedEffect = effects.qSlicerSegmentEditorScriptedEffect(None)
        clonedEffect.setPythonSource(__file__.replace("\\", "/"))
        return clonedEffect

    def icon(self):
        folder = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
        return qt.QIcon(os.path.join(folder, "Resources", "Icons", "S3NetSegment.svg"))

    def helpText(self):
        return _(
            "<html>Carry what is drawn on one or a few slices to all other slices.<br>"
            "<p>Draw one or more segments on a slice with Paint or Draw, all of it that belongs to them: one slice in the "
            "middle and one near each end is a good start. Choose this effect and click <b>Propagate</b>. <b>Accept</b> "
            "writes the previewed answer; drawn slices stay as they are. Where it is wrong, correct a slice and propagate "
            "again. Editable area, intensity range and the rule for other segments are respected.</html>"
        )

    def setupOptionsFrame(self):
        self._place = qt.QVBoxLayout()
        self.scriptedEffect.addOptionsWidget(self._place)

    def setMRMLDefaults(self):
        """Parameters that were never set are empty."""

    def activate(self):
        if self.frame is None:
            from S3NetSegmentLib.panel.few_shot.effect import FewShotEffectFrame

            self.frame = FewShotEffectFrame(self.scriptedEffect)
            self._place.addWidget(self.frame.widget)
        self.frame.activate()

    def deactivate(self):
        if self.frame is not None:
            self.frame.deactivate()

    def sourceVolumeNodeChanged(self):
        self.updateGUIFromMRML()

    def interactionNodeModified(self, interactionNode):
        """Placing a markup does not end this effect."""

    def updateGUIFromMRML(self):
        if self.frame is not None:
            self.frame.show()

    def updateMRMLFromGUI(self):
        """The frame keeps the parameters itself."""

    def cleanup(self):
        if self.frame is not None:
            self.frame.cleanup()
        self.frame = None
