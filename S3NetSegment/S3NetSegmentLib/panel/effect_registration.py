"""The effect "Few-shot" of Slicer's Segment Editor is made known. Read when Slicer starts, so nothing else is imported."""

from pathlib import Path

_EFFECT = Path(__file__).parents[2] / "SegmentEditorFewShotLib" / "SegmentEditorFewShotEffect.py"


def register_editor_effect() -> None:
    """Makes "Few-shot" one of the effects of Slicer's Segment Editor."""
    import qSlicerSegmentationsEditorEffectsPythonQt as effects

    effect = effects.qSlicerSegmentEditorScriptedEffect(None)
    effect.setPythonSource(_EFFECT.as_posix())
    effect.self().register()
