"""What an encoder had to say in an answer, as it is told and recorded."""

from __future__ import annotations

from collections.abc import Mapping

PART = "prototypes"  # the name of its part in the vote
NO_PART = "took no part"


def encoder_share(mix: Mapping[str, float]) -> float:
    """Its share of the vote, 0 to 1."""
    return float(mix.get(PART, 0.0))


def encoder_record(encoder, mix: Mapping[str, float]) -> str:
    """Its name and digest for provenance, and that it took no part where the vote gave it nothing; "" without one."""
    if encoder is None:
        return ""
    return f"{encoder.name} sha256 {encoder.digest}" + ("" if encoder_share(mix) > 0 else f", {NO_PART}")


def encoder_text(name: str, share: float) -> str:
    """For the user, e.g. "dinov2-vits14-reg4, 15 % of the vote"."""
    if share > 0:
        return f"{name}, {100 * share:.0f} % of the vote"
    return f"{name} {NO_PART}, since drawn slices that were hidden from it were not predicted better with it"
