"""The published DINOv2 and DINOv3 weights: names, sizes, digests. Standard library only.

File names and addresses are those of github.com/facebookresearch/dinov2 (``dinov2/hub``). Its publisher states no
digests; these SHA-256 values are what independent users of the official files have recorded, who agree for each file
(among them the conversion scripts of finegrain-ai/refiners). They were not recomputed here. DINOv3's files are given out by their
publisher to those who accept its licence; their digests are not known here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ...common.errors import InputError

PUBLISHER = "https://dl.fbaipublicfiles.com/dinov2"
_ASKED_FOR = "https://ai.meta.com/resources/models-and-libraries/dinov3-downloads/"


@dataclass(frozen=True)
class WeightsFile:
    """One published file.

    :param name: how it is named here, e.g. "dinov2-vits14-reg4".
    :param parameters: number of weights.
    :param sha256: digest of the published file, hexadecimal; "": not known, and the file cannot simply be downloaded.
    :param size: bytes; None where nobody states it (it is then about 4 x parameters).
    """

    name: str
    parameters: int
    sha256: str = ""
    size: int | None = None

    @property
    def is_free(self) -> bool:
        """Whether anybody can download it, without a licence that has to be accepted first."""
        return bool(self.sha256)

    @property
    def file_name(self) -> str:
        return f"{self.name.replace('-', '_')}_pretrain.pth"

    @property
    def url(self) -> str:
        """Where the file is, or the page where it is given out."""
        return (
            _ASKED_FOR
            if not self.is_free
            else f"{PUBLISHER}/{self.name.replace('-', '_').removesuffix('_reg4')}/{self.file_name}"
        )

    @property
    def about_bytes(self) -> int:
        return self.size or 4 * self.parameters + 60_000


CATALOGUE: Mapping[str, WeightsFile] = {
    file.name: file
    for file in (
        WeightsFile("dinov2-vits14", 22_056_576,
                    "b938bf1bc15cd2ec0feacfe3a1bb553fe8ea9ca46a7e1d8d00217f29aef60cd9", 88_283_115),
        WeightsFile("dinov2-vits14-reg4", 22_058_112,
                    "f433177089a681826f849f194ece3bb48f4d63fb38d32fc837e3dc7a4e5641fb"),
        WeightsFile("dinov2-vitb14", 86_580_480,
                    "0b8b82f85de91b424aded121c7e1dcc2b7bc6d0adeea651bf73a13307fad8c73", 346_378_731),
        WeightsFile("dinov2-vitb14-reg4", 86_583_552,
                    "73182a088cf94833c94b1666d1c99e02fe87e2007bff57b564fb6206e25dba71", 346_393_545),
        WeightsFile("dinov2-vitl14", 304_368_640,
                    "d5383ea8f4877b2472eb973e0fd72d557c7da5d3611bd527ceeb1d7162cbf428", 1_217_586_395),
        WeightsFile("dinov2-vitl14-reg4", 304_372_736,
                    "36e4deffbaef061a2576705b0c36f93621e2ae20bf6274694821b0b492551b51", 1_217_607_321),
        WeightsFile("dinov2-vitg14", 1_136_480_768,
                    "baf8467e50af277596bbbafa06887c177ee899ab46033649c383577d7e9309d3", 4_546_108_579),
        WeightsFile("dinov2-vitg14-reg4", 1_136_486_912,
                    "746ecb8c6301c645c5c855be91687d274587d6e48fdaec4a729753160b34a283", 4_546_140_349),
        WeightsFile("dinov3-vits16", 21_601_152),
        WeightsFile("dinov3-vitb16", 85_669_632),
        WeightsFile("dinov3-vitl16", 303_154_176),
    )
}  # fmt: skip
# The smallest with registers: no artefact tokens in its maps, and one way only to resize its position embeddings.
DEFAULT_WEIGHTS = "dinov2-vits14-reg4"


def weights_named(name: str) -> WeightsFile:
    """The entry for ``name``; the publisher's spellings (``dinov2_vits14_reg``, the file name) are understood as well.

    Raises InputError with the names that exist.
    """
    text = str(name).strip().lower().removesuffix(".pth").removesuffix("_pretrain").replace("_", "-")
    text = f"{text}4" if text.endswith("-reg") else text
    if text not in CATALOGUE:
        raise InputError(f"there are no weights named {name!r}; choose one of {', '.join(CATALOGUE)}")
    return CATALOGUE[text]
