"""What the three methods published, beside the settings of the presets that bear their names: the rows of the tables.

The published numbers are those of the papers and, where these give none, of the released code: S3-Net arXiv 2309.00143 with its
notebook; ALPNet arXiv 2007.09886 and DINOv2 with it, arXiv 2403.03273, with their scripts; IDEAL arXiv 2210.15075, whose authors
released no complete code, with its parents: DenseCL arXiv 2011.09157 and Chaitanya et al. arXiv 2006.10511 for the
pre-training, the two-dimensional scripts of SSL4MIS for the fine-tuning.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from S3NetSegmentLib.engine.segment.settings import preset
from S3NetSegmentLib.engine.training.presets import finetuning_configuration, pretraining_configuration

NOT_STATED = "not stated"


@dataclass(frozen=True)
class Row:
    """One number or choice.

    :param setting: name of the setting; "": the difference lies in what is computed and not in a setting, and ``here`` says it.
    :param published: the value in the form of the setting where the two can be compared, else words.
    :param why: the reason for a difference; "" where there is none.
    :param here: words instead of the settings' values.
    """

    what: str
    setting: str
    published: object
    why: str = ""
    here: str = ""


@dataclass(frozen=True)
class Table:
    """A method.

    :param presets: heading of a column -> the values of all settings by name.
    :param defaults: the values of all settings where no preset is chosen.
    :param of_no_method: settings that the presets change but that say nothing about the method.
    """

    key: str
    title: str
    presets: Mapping[str, Mapping[str, object]]
    rows: tuple[Row, ...]
    defaults: Mapping[str, object]
    of_no_method: frozenset[str] = frozenset()

    def here(self, row: Row) -> list[object]:
        """What ``row`` is in each of the presets."""
        return [row.here or values[row.setting] for values in self.presets.values()]

    def differs(self, row: Row) -> bool:
        """Whether one of the presets is not as published, or cannot be compared."""
        return any(value != row.published for value in self.here(row))


S3NET = (
    Row("sides of the image, pixels", "fit_size", 256),
    Row("channels", "channels", 64),
    Row("attention blocks", "blocks", 2),
    Row("inception large-kernel attention", "attention", True),
    Row("surroundings as further channels", "context_channels", False),
    Row("deformable convolution", "deformable", True),
    Row("labels at the start", "start", "random"),
    Row("steps that learn given labels", "steps", 0),
    Row("largest number of iterations", "self_training_steps", 50),
    Row("networks", "restarts", 1),
    Row("learning rate (SGD, momentum 0.9)", "learning_rate", 0.2),
    Row("weight of the clustering loss", "clustering_weight", 3.5),
    Row("weight of the affine loss", "affine_weight", 0.2),
    Row("weight of the spatial loss", "spatial_weight", 4.0,),
    Row("guided filter on the labels, pixels", "guided_radius", 0),
)  # fmt: skip

IDEAL_FINETUNING = (
    Row("weight of unlabelled slices", "unlabelled_weight", 0.1),
    Row("rise of that weight, part of the run", "ramp_share", 1.0),
    Row("what is doubled", "streams", "decoders"),
    Row("view that learns", "views", "same"),
    Row("who gives pseudo-labels", "teacher", "network"),
    Row("least probability of a pseudo-label", "threshold", 0.0),
    Row("Dice on pseudo-labels", "pseudo_dice", False),
    Row("trust in classes", "trust", False),
    Row("mixing of slices", "mix", "off"),
    Row("optimiser", "optimizer", "sgd"),
    Row("learning rate", "learning_rate", 0.01),
    Row("fall of the learning rate", "schedule", "poly"),
    Row("warm-up", "warmup", 0.0),
    Row("weight decay", "weight_decay", 1e-4),
    Row("steps", "steps", 30_000),
    Row("labelled slices in a step", "batch", 12),
    Row("unlabelled slices in a step", "unlabelled_batch", 12),
    Row("sides of a slice, pixels", "slice_side", 256),
)

ALPNET_TRAINING = (
    Row("side of the views, pixels", "side", 256),
    Row("cells of the grid along a side", "grid", 32),
    Row("windows along a side", "prototype_grid", 8),
    Row("least share of a window", "threshold", 0.95),
    Row("factor of the cosine similarity", "temperature", 20.0),
    Row("episodes of a step", "episodes", 1),
    Row("weight of the background", "background_weight", 0.05),
    Row("weight of the alignment loss", "alignment_weight", 1.0),
    Row("least superpixel, pixels", "smallest_superpixel", 400),
    Row("rank of the adapters of a transformer", "lora", 4),
    Row("optimiser (momentum 0.9)", "optimizer", "sgd"),
    Row("learning rate", "learning_rate", 1e-3),
    Row("fall of the learning rate", "schedule", "stairs"),
    Row("factor of each stair", "decay", 0.95),
    Row("steps of each stair", "decay_steps", 1000),
    Row("weight decay", "weight_decay", 5e-4),
    Row("steps", "steps", 100_100),
    Row("seed", "seed", 1234),
)


def tables() -> tuple[Table, ...]:
    """All tables, in the order of the document."""
    paper = vars(preset("paper"))
    return (
        Table("s3net", "S3-Net: `s3net segment --preset paper`", {"`paper`": paper}, S3NET, vars(preset("default")),
              frozenset({"sources"})),
        Table("alpnet-training", "ALPNet, training: `s3net pretrain --method alpnet --preset paper`",
              {"`paper`": pretraining_configuration("alpnet", "paper").as_dict()}, ALPNET_TRAINING,
              pretraining_configuration("alpnet").as_dict(), frozenset({"validate_every"})),
        Table("ideal-finetuning", "IDEAL, fine-tuning: `s3net finetune --preset paper`",
              {"`paper`": finetuning_configuration("paper").as_dict()}, IDEAL_FINETUNING,
              finetuning_configuration().as_dict(), frozenset({"validate_every"})),
    )  # fmt: skip
