"""Provenance of the panel's answers as segment tags."""

from __future__ import annotations

from ..engine.few_shot.encoder_share import encoder_record
from ..engine.provenance import PREFIX, provenance_tags

__all__ = ["PREFIX", "few_shot_tags", "provenance_tags"]


def few_shot_tags(settings, volume_name: str, support, answer, encoder=None, drawn_on: str = "") -> dict[str, str]:
    """Segment tags of an answer of Few-shot.

    :param settings: the engine's FewShotSettings.
    :param support: the drawn slices; empty: every slice.
    :param answer: the engine's FewShotAnswer.
    :param encoder: the FewShotEncoder that was used, or None.
    :param drawn_on: name of the volume that was drawn on, if it is another one.
    """
    return provenance_tags(
        "Few-shot",
        settings=settings.changed(),
        seed=settings.seed,
        device="cpu" if encoder is None else str(encoder.device),
        volume=volume_name,
        drawn=", ".join(s.short for s in support) or "all",
        drawn_on=drawn_on or None,
        encoder=encoder_record(encoder, answer.mix) or None,
        mix=", ".join(f"{name} {share:.2f}" for name, share in answer.mix.items() if share),
    )
