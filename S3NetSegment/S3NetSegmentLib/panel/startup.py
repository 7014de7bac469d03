"""What Slicer is told when it starts: the effect "Few-shot" of its Segment Editor, and the sample data. So nothing else is imported."""

from __future__ import annotations

import json
from pathlib import Path

_EFFECT = Path(__file__).parents[2] / "SegmentEditorFewShotLib" / "SegmentEditorFewShotEffect.py"


def register_editor_effect() -> None:
    """Makes "Few-shot" one of the effects of Slicer's Segment Editor."""
    import qSlicerSegmentationsEditorEffectsPythonQt as effects

    effect = effects.qSlicerSegmentEditorScriptedEffect(None)
    effect.setPythonSource(_EFFECT.as_posix())
    effect.self().register()


def sample_data_folder() -> Path | None:
    """The shipped samples: beside the installed module, or in the source tree above it; None without them."""
    module = Path(__file__).parents[2]
    folders = (root / "Resources" / "SampleData" for root in (module, module.parent))
    return next((folder for folder in folders if (folder / "samples.json").is_file()), None)


def register_sample_data() -> None:
    """Lists the shipped samples in Slicer's Sample Data module; they are local files, nothing is downloaded."""
    folder = sample_data_folder()
    if folder is None:
        return
    import SampleData

    for sample in json.loads((folder / "samples.json").read_text(encoding="utf8")):
        path, thumbnail = folder / sample["image"], folder / "thumbnails" / f"{sample['name']}.png"
        SampleData.SampleDataLogic.registerCustomSampleDataSource(
            category="S3NetSegment",
            sampleName=sample["title"],
            uris=path.resolve().as_uri(),
            fileNames="S3NetSegment-" + path.name,  # the name in Slicer's cache, shared by all extensions
            nodeNames=sample["title"],
            loadFileTypes="VolumeFile",
            loadFileProperties={"singleFile": True},  # a picture, not the first of a series
            thumbnailFileName=str(thumbnail) if thumbnail.is_file() else None,
        )
