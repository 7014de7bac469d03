"""``s3net pretrain``: an encoder from images without labels."""

from __future__ import annotations

from ...engine.tasks.train import PretrainTask
from .training import add_training

DESCRIPTION = """\
Trains an encoder on the images of a cohort, without labels. Labels, where there are some, only say which patients are held
out and not looked at.

ideal: dense local contrast of two views of a slice (IDEAL); the encoder is a start for 's3net finetune --init RUN/model.pt'.
alpnet: self-supervised episodes on superpixels (ALPNet), for a U-Net or, with --encoder, DINOv2; the encoder is for
's3net few-shot --encoder RUN/model.pt'.

Ctrl-C stops after saving; --resume goes on, to the same result as without the stop. On several GPUs or machines start it with
torchrun."""
EXAMPLES = """\
examples:
  s3net pretrain cohort -o runs/encoder --minutes 60
  s3net pretrain cohort -o runs/features --method alpnet --encoder dinov2-vits14-reg4
  torchrun --nproc-per-node=4 s3net pretrain cohort -o runs/encoder"""


def register(commands) -> None:
    add_training(commands, PretrainTask, "train an encoder on images without labels", DESCRIPTION, EXAMPLES)
