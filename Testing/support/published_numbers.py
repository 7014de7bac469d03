"""What the three methods published, beside the settings of the presets that bear their names: the rows of the tables.

The published numbers are those of the papers and, where these give none, of the released code: S3-Net arXiv 2309.00143 with its
notebook; ALPNet arXiv 2007.09886 and DINOv2 with it, arXiv 2403.03273, with their scripts; IDEAL arXiv 2210.15075, whose authors
released no complete code, with its parents: DenseCL arXiv 2011.09157 and Chaitanya et al. arXiv 2006.10511 for the
pre-training, the two-dimensional scripts of SSL4MIS for the fine-tuning.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from S3NetSegmentLib.engine.few_shot.settings import few_shot_preset
from S3NetSegmentLib.engine.few_shot.voters import encoders, self_training
from S3NetSegmentLib.engine.few_shot.voters.alpnet import HeadSettings
from S3NetSegmentLib.engine.few_shot.voters.making import published_head
from S3NetSegmentLib.engine.nets import unet
from S3NetSegmentLib.engine.segment.s3net import fit
from S3NetSegmentLib.engine.segment.settings import preset
from S3NetSegmentLib.engine.training import alpnet
from S3NetSegmentLib.engine.training import settings as training
from S3NetSegmentLib.engine.training.configuration import finetuning_configuration, pretraining_configuration
from S3NetSegmentLib.engine.training.ideal import finetuning
from S3NetSegmentLib.engine.training.slices.augmentation import VIEW

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
    Row("colour", "fit_input", "plain", "all input channels count alike; standardised Lab in `paper`, whose sides keep their ratio"),
    Row("sides of the image, pixels", "fit_size", 256),
    Row("way to that size", "", "cv2, bicubic, in BGR",
        "the image comes in Lab on a grid of square pixels of at most 256; from there it goes to BGR",
        here="area average in Lab to 256, then (`published`) bicubic in BGR to the square"),
    Row("channels", "channels", 64),
    Row("attention blocks", "blocks", 2),
    Row("inception large-kernel attention", "attention", True),
    Row("surroundings as further channels", "context_channels", False),
    Row("deformable convolution", "deformable", True),
    Row("its offsets and masks", "", "free tensors of fixed size, 94 % of all weights, random start",
        "the published ones move by less than 0.005 pixels in a fit and shift the map by half a pixel",
        here="predicted from the features, zero at the start"),
    Row("largest offset, pixels", "deformable_reach", NOT_STATED, "keeps a predicted offset in sight of its pixel"),
    Row("labels are read from", "head", "features", "in `paper` the image itself, too: its edges come back at full size"),
    Row("branch for colours", "", "softmax over a batch of one", "its output is 1 everywhere, so it does nothing", here="none"),
    Row("second head for the affine loss", "", "1x1 convolution on the blocks",
        "the loss then never reaches the layers that answer", here="none, the loss is that of the head that answers"),
    Row("labels at the start", "start", "random"),
    Row("steps that learn given labels", "steps", 0),
    Row("largest number of iterations", "self_training_steps", 50),
    Row("ends when so few labels are left", "stop_labels", 3,
        "`paper` ends when labels stand still: the published rule ends at two or three labels whatever the image holds"),
    Row("networks", "restarts", 1),
    Row("random seed", "seed", "none", "the same image gives the same answer"),
    Row("learning rate (SGD)", "learning_rate", 0.2),
    Row("momentum", "of the fit: momentum", 0.9),
    Row("weight of the clustering loss", "clustering_weight", 3.5),
    Row("weight of the affine loss", "affine_weight", 0.2),
    Row("transformation", "transformation", "quarter", "one turn teaches one turn; `paper` draws one anew in each step"),
    Row("what is transformed", "", "both outputs", "the loss is then the same with and without the transformation",
        here="the input, and the labels with it"),
    Row("affine loss", "consistency", "labels", "a divergence also tells how sure both views are"),
    Row("largest rotation, degrees", "rotation", "90, always", "for `transformation=random`"),
    Row("weight of the spatial loss", "spatial_weight", 4.0),
    Row("spatial loss", "", "Sobel filters of label colours", "the published one has no gradient, and its value hangs on random "
        "colours; the weight is thus on another scale", here="differences of the probabilities of neighbours, their mean"),
    Row("contrast at which it halts, deviations", "edge_contrast", "never",
        "`published`: of values from 0 to 1, so never; `paper` lets labels change at edges"),
    Row("weight against collapse", "entropy_weight", 0.0, "without it self-training has one label as its optimum"),
    Row("regions out of clusters", "merging", "labels", "probabilities of merged clusters add up"),
    Row("number of regions", "", "what is left, two or three", "the tool lets people choose",
        here="merged to the number asked for; where fewer are left, that is said"),
    Row("several slices", "", "each by itself", "labels must mean the same in every slice",
        here="one network for all, which also sees the slices below and above"),
    Row("guided filter on the labels, pixels", "guided_radius", 0),
)  # fmt: skip

_PRECISION = Row(
    "numbers of the network", "precision", "fp32", "bf16 where the device computes in it, which is faster; else fp32"
)
_SCALE = "one scale for all images, made without asking what they are"

ALPNET_INFERENCE = (
    Row("pixels of a slice, longer side", "encoder_side", 252, ""),
    Row("tokens of DINOv2", "", "18 x 18, of 14 pixels", here="18 x 18, of 14 pixels", why=""),
    Row("what of a slice is encoded", "encoder_view", "slice"),
    Row("shape of a slice", "", "stretched to a square", "pixels stay square in mm; slices of most scanners are",
        here="its own: fewer tokens along the shorter side"),
    Row("cells of the grid along the longer side", "encoder_grid", 32),
    Row("intensities", "encoder_input", "zscore"),
    Row("scale before that", "", "CT: window -125 to 275; MR: highest 0.5 % clipped",
        _SCALE, here=f"the tool's own scale for the volume; mean and deviation of {encoders._LOOKED_AT} slices"),
    Row("slices of one input (an option of the published program)", "encoder_slices", "one"),
    Row("adapters", "", "rank 4, trained", "`s3net pretrain --method alpnet` trains them; a published file has none",
        here="what the encoder's file holds"),
    Row("prototypes", "prototypes", "published"),
    Row("window, cells", "prototype_window", 2),
    Row("least share of a window", "prototype_threshold", 0.95),
    Row("factor of the cosine similarity", "prototype_temperature", 20.0),
    Row("prototypes of a segment", "foreground", "gridconv+"),
    Row("prototypes of the background", "background", "gridconv"),
    Row("window without which the mean alone counts, cells", "of the head: fallback_window", 4),
    Row("place in the slice", "of the head: neighbourhood", 0.0),
    Row("weights of drawn slices", "of the head: weighting", "none"),
    Row("windows that miss the least share", "of the head: adaptive", False),
    Row("joined prototypes", "of the head: most_prototypes", 0),
    Row("several drawn slices", "shots", "max", ""),
    Row("mask on the grid", "", "nearest cell", "thin segments would vanish", here="area average"),
    Row("drawn slices asked", "", "one of three, by the true place of the slice in the organ",
        "the true place is not known", here="all that are drawn"),
    Row("segments", "", "one by one against the rest", "one answer for each voxel", here="all at once"),
    Row("enlarged", "", "scores", "what parts of the vote have in common; argmax differs at borders only",
        here="probabilities"),
    Row("smoothing across slices, mm", "slice_smoothing", 0.0),
    Row("one part of a segment in a slice (CCA)", "largest_component", True),
    Row("the part that stays", "", "largest sum of probabilities, over the predicted area",
        "the area is the same for all parts", here="largest sum of probabilities"),
    Row("steps of training at test time, on each slice's own answer (TTT)", "test_time_steps", 100,
        "it needs a training per slice, so it has to be asked for: `--set test_time_steps=100`"),
    Row("weights after a slice", "", "kept, though the program means to put them back",
        "an answer must not hang on the slices before it", here="those of the encoder"),
    Row("what is trained then", "", "the adapters", "other encoders have no place for adapters",
        here=f"adapters of rank {self_training._RANK}, which are new; an encoder that is no transformer as a whole"),
    Row("slices that are scored", "", "those that truly hold the organ", "that is not known", here="all"),
    Row("method", "method", "alpnet"),
)  # fmt: skip

IDEAL_PRETRAINING = (
    Row("what is trained", "network", "the encoder of a U-Net", "that of SSL4MIS, 16 to 256 channels: the paper gives no sizes"),
    Row("level that is contrasted", "level", "the encoder's last", "counted from the end"),
    Row("contrast of whole slices", "global_weight", 0.0),
    Row("contrast in decoders", "decoder_weight", 0.0),
    Row("convolutions of the head (the paper's figure)", "head_layers", 1),
    Row("channels of the projection (DenseCL)", "embedding", 128),
    Row("where the positive lies (DenseCL)", "match", "feature"),
    Row("temperature (DenseCL)", "temperature", 0.2),
    Row("momentum of the key branch, start (DenseCL)", "momentum", 0.999),
    Row("the same, end", "last_momentum", 0.999),
    Row("negatives (DenseCL)", "negatives_from", "queue of 65,536 means of other images",
        "a batch holds thousands of cells, and old keys of a network that still learns fast are no good"),
    Row("cells near the positive that are not negatives", "neighbourhood", 0.0),
    Row("cells that ask, at most", "queries", "all", "bounds the memory; those asked are drawn anew in each step"),
    Row("negatives, at most", "negatives", 65_536, "as many as a batch of 12 has at 256 pixels are far fewer"),
    Row("largest rotation, degrees", "rotation", NOT_STATED, "as in the preset `default`"),
    Row("largest logarithm of the scaling", "scaling", NOT_STATED, "as in the preset `default`"),
    Row("largest shear", "shear", NOT_STATED, "as in the preset `default`"),
    Row("largest shift", "shift", NOT_STATED, "as in the preset `default`"),
    Row("mirroring (DenseCL)", "flip", True),
    Row("changes of intensity (DenseCL)", "", "colour jitter, grey, blur", "slices have no colour; fields, noise and gaps are what they have",
        here=f"bias field, gamma, contrast, brightness, blur and noise, each with probability {VIEW.probability:g}; a box cut out, {VIEW.cut_out:g}"),
    Row("sides of a slice, pixels (Chaitanya)", "slice_side", 192, "that of the fine-tuning; smaller where no image needs it"),
    Row("mm of a pixel (Chaitanya, ACDC)", "slice_spacing", 1.367, "0: the images' own, since the cohort is the user's"),
    Row("optimiser (Chaitanya)", "optimizer", "adam", "AdamW without weight decay is Adam"),
    Row("weight decay (Chaitanya)", "weight_decay", 0.0),
    Row("learning rate (Chaitanya)", "learning_rate", 1e-3),
    Row("fall of the learning rate (Chaitanya)", "schedule", "constant"),
    Row("warm-up", "warmup", 0.0),
    Row("intensities (Chaitanya)", "", "0 to 1 from the 1st to the 99th percentile", _SCALE, here="0 to 1 by the tool's own scale for the volume"),
    _PRECISION,
    Row("steps (Chaitanya)", "steps", 10_001),
    Row("slices in a step (Chaitanya)", "batch", 12),
)  # fmt: skip

_TURNS = (
    "the parent turns half of the slices by multiples of 90 degrees and mirrors them, and others by up to 20 degrees"
)
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
    Row("its momentum", "of the optimiser: momentum", 0.9),
    Row("learning rate", "learning_rate", 0.01),
    Row("fall of the learning rate", "schedule", "poly"),
    Row("power of that fall", "of the schedule: power", 0.9),
    Row("warm-up", "warmup", 0.0),
    Row("weight decay", "weight_decay", 1e-4),
    Row("intensities", "", "0 to 1 from the least to the largest", _SCALE, here="0 to 1 by the tool's own scale for the volume"),
    _PRECISION,
    Row("steps", "steps", 30_000),
    Row("labelled slices in a step", "batch", 12),
    Row("unlabelled slices in a step", "unlabelled_batch", 12),
    Row("steps between validations", "validate_every", 200),
    Row("sides of a slice, pixels", "slice_side", 256),
    Row("whole frames to that size", "slice_spacing", "stretched", "0: the images' own mm per pixel, padded: shapes stay as they are"),
    Row("largest rotation, degrees", "rotation", "20, or multiples of 90", _TURNS),
    Row("steps in which rotations widen", "rotation_steps", 0),
    Row("mirroring", "flip", True),
    Row("largest scaling", "scaling", 0.0),
    Row("largest shear", "shear", 0.0),
    Row("largest shift", "shift", 0.0),
    Row("changes of intensity", "weak_intensities", False),
    Row("moving average of the weights", "average_decay", 0.0),
    Row("statistics of the normalisation", "", "of training batches, running mean",
        "unchanged slices are what is segmented later", here=f"measured anew on unchanged slices, every {finetuning._OBSERVE_EVERY} steps"),
    Row("sizes of the U-Net", "network", NOT_STATED, "that of SSL4MIS, 16 to 256 channels"),
    Row("dropout in the encoder", "dropout", True),
    Row("its shares, from the finest level on", "of the U-Net: dropout", "0.05, 0.1, 0.2, 0.3, 0.5"),
    Row("learning rate of a pre-trained encoder, factor", "encoder_rate", 1.0),
)  # fmt: skip

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
    Row("scale of superpixels (Felzenszwalb, of intensities to 255)", "of superpixels: scale", 1.0),
    Row("mask on the grid", "", "bilinear samples", "thin superpixels would vanish", here="area average"),
    Row("largest rotation of a view, degrees", "of the views: rotation", 5.0),
    Row("largest shear, degrees", "of the views: shear", 5.0),
    Row("largest shift, pixels of 256", "of the views: shift", 5.0),
    Row("magnification", "of the views: scale", "0.9, 1.2"),
    Row("elastic displacement, pixels of 256", "of the views: elastic", 10.0),
    Row("its smoothing, pixels of 256", "of the views: elastic_sigma", 5.0),
    Row("exponent of the grey values", "of the views: gamma", "0.5, 1.5"),
    Row("affine and elastic change", "", "one resampling after the other", "the view is blurred once", here="one resampling for both"),
    Row("rank of the adapters of a transformer", "lora", 4),
    Row("optimiser", "optimizer", "sgd"),
    Row("its momentum", "of the optimiser: momentum", 0.9),
    Row("learning rate", "learning_rate", 1e-3),
    Row("fall of the learning rate", "schedule", "stairs"),
    Row("factor of each stair", "decay", 0.95),
    Row("steps of each stair", "decay_steps", 1000),
    Row("weight decay", "weight_decay", 5e-4),
    Row("intensities", "", "as for answering: mean 0, deviation 1", _SCALE, here="0 to 1 by the tool's own scale for the volume"),
    _PRECISION,
    Row("steps", "steps", 100_100),
    Row("seed", "seed", 1234),
)  # fmt: skip


def _inference(name: str) -> dict[str, object]:
    """The settings of Few-shot by name, and what its prototypes do besides."""
    settings = few_shot_preset(name)
    head = vars(published_head(settings) or HeadSettings())
    further = [name for name in head if not hasattr(settings, name) and not hasattr(settings, f"prototype_{name}")]
    return vars(settings) | {f"of the head: {name}": head[name] for name in further}


def _plain(value: object) -> object:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else value


def tables() -> tuple[Table, ...]:
    """All tables, in the order of the document. What is the same in all presets and no setting is named as ``of the ...``."""
    descent = {"of the fit: momentum": fit._MOMENTUM}
    sgd = {"of the optimiser: momentum": training.SGD_MOMENTUM}
    views = {f"of the views: {name}": _plain(value) for name, value in vars(alpnet.ViewRanges()).items()}
    episodes = {**sgd, **views, "of superpixels: scale": alpnet.PUBLISHED_SCALE * 255**2}
    published = {
        **sgd,
        "of the schedule: power": training.POLY_POWER,
        "of the U-Net: dropout": _plain(unet._DROPOUT),
    }
    return (
        Table("s3net", "S3-Net: `s3net segment --preset published` and `--preset paper`",
              {f"`{name}`": vars(preset(name)) | descent for name in ("published", "paper")}, S3NET, vars(preset("default")) | descent,
              frozenset({"sources"})),
        Table("alpnet", "ALPNet with DINOv2, answering: `s3net few-shot --preset published`",
              {"`published`": _inference("published")}, ALPNET_INFERENCE, _inference("default")),
        Table("alpnet-training", "ALPNet, training: `s3net pretrain --method alpnet --preset paper`",
              {"`paper`": pretraining_configuration("alpnet", "paper").as_dict() | episodes}, ALPNET_TRAINING,
              pretraining_configuration("alpnet").as_dict() | episodes),
        Table("ideal-pretraining", "IDEAL, pre-training: `s3net pretrain --preset paper`",
              {"`paper`": pretraining_configuration("ideal", "paper").as_dict()}, IDEAL_PRETRAINING,
              pretraining_configuration("ideal").as_dict()),
        Table("ideal-finetuning", "IDEAL, fine-tuning: `s3net finetune --preset paper`",
              {"`paper`": finetuning_configuration("paper").as_dict() | published}, IDEAL_FINETUNING,
              finetuning_configuration().as_dict() | published),
    )  # fmt: skip
