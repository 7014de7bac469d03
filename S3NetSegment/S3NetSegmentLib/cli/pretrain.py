"""``s3net pretrain``: an encoder from images without labels."""

from __future__ import annotations

import argparse

from .training import add_run_options, check_run_options, configured, mark_running, refuse_used_folder, run_training

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
    """Adds the command to the parser."""
    parser = commands.add_parser(
        "pretrain", help="train an encoder on images without labels", description=DESCRIPTION, epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add_run_options(
        parser, ("default", "paper", "tiny"), "default",
        "default; tiny: a small network, for a CPU; paper: as published",
    )  # fmt: skip
    parser.add_argument("--method", choices=("ideal", "alpnet"), default="ideal", help="see above; default ideal")
    parser.add_argument(
        "--encoder", metavar="NAME|FILE", help="alpnet: DINOv2 weights to train (with adapters) instead of a U-Net"
    )
    parser.set_defaults(run=run, check=lambda arguments: check(arguments, parser))


def check(arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Refuses arguments that contradict each other. Exits with code 2."""
    check_run_options(arguments, parser)
    if arguments.encoder and arguments.method != "alpnet":
        parser.error("--encoder is for --method alpnet; ideal trains its own U-Net")


def run(arguments: argparse.Namespace) -> int:
    """Trains. Returns the exit code; errors pass through."""
    return run_training(arguments, _steps)


def _steps(arguments: argparse.Namespace, folder, device, processes, stop):
    from ..engine.common.progress import within
    from ..engine.training.cohort import read_cohort
    from ..engine.training.presets import pretraining_configuration
    from ..engine.training.pretrain import pretrain

    if processes.writes:
        refuse_used_folder(arguments, folder)
    method = arguments.method

    def configuration(kept):
        nonlocal method
        if kept is None:
            return pretraining_configuration(method, arguments.preset)
        method = kept["method"].split()[-1]
        return pretraining_configuration(method, kept["preset"])

    settings = configured(arguments, configuration, folder)
    encoder = None
    if arguments.encoder:
        from ..engine.nets.weights import WeightsStore

        encoder = WeightsStore().load(arguments.encoder, precision="float32", device=device)
    cohort = yield from within(read_cohort(arguments.cohort, skip_bad=arguments.skip_bad), 0, 0.01)
    if processes.writes:
        mark_running(folder, f"s3net pretrain --method {method}")
    return (
        yield from pretrain(
            cohort, settings, folder, method=method, encoder=encoder, resume=arguments.resume, device=device,
            processes=processes, skip_bad=arguments.skip_bad, stop=stop,
        )
    )  # fmt: skip
