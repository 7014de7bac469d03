"""Published weights and the user's folder of them: what is in it, adding a local file, taking files away, loading an encoder."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ....user_cache import user_cache
from ...common.errors import InputError, ResourceError
from ...common.json_file import json_object
from ...common.progress import Step, Steps, run_to_end
from ...images.files import replace_text, replacing

_BLOCK = 4 << 20
PARTIAL = ".part"
PUBLISHER = "https://dl.fbaipublicfiles.com/dinov2"
_ASKED_FOR = "https://ai.meta.com/resources/models-and-libraries/dinov3-downloads/"


def weights_folder() -> Path:
    """Where this user's weights are kept: the environment variable S3NET_WEIGHTS, or the cache folder of the system."""
    named = os.environ.get("S3NET_WEIGHTS")
    if named:
        return Path(named).expanduser().absolute()
    return user_cache() / "weights"


@dataclass(frozen=True)
class StoredWeights:
    """Weights that are there.

    :param name: which model (a name of the catalogue).
    :param sha256: digest of the file; results that depend on the weights are keyed with it.
    :param source: where the file came from, an address or a path.
    """

    name: str
    path: Path
    size: int
    sha256: str
    source: str

    @property
    def is_published(self) -> bool:
        """Whether it is byte for byte the published file; if not, weights of the same shape (fine-tuned or saved anew). False, too,
        where the digest of the published file is not known."""
        return self.sha256 == CATALOGUE[self.name].sha256

    @property
    def remark(self) -> str:
        """What the user should know of the file; "" for a published one."""
        if self.is_published:
            return ""
        if not CATALOGUE[self.name].is_free:
            return "the right tensors; the digest of the published file is not known"
        return "the right tensors, but not the published file: fine-tuned or saved anew"


class WeightsStore:
    """The folder of weights of one user (or, for tests, any ``folder``)."""

    def __init__(self, folder: str | os.PathLike | None = None):
        self.folder = Path(folder) if folder is not None else weights_folder()

    def path_of(self, entry: WeightsFile) -> Path:
        return self.folder / entry.file_name

    def find(self, name: str) -> StoredWeights | None:
        """The weights named ``name``, or None if they are not there. Raises InputError for an unknown name."""
        entry = weights_named(name)
        path = self.path_of(entry)
        try:
            facts = path.stat()
        except OSError:
            return None
        note = json_object(note_path(path))
        sound = all(isinstance(note.get(key), str) for key in ("sha256", "source"))
        if not sound or (note.get("size"), note.get("modified")) != (facts.st_size, facts.st_mtime_ns):
            # somebody put or changed the file by hand: it is looked at as if it were new
            stored = StoredWeights(
                entry.name, path, facts.st_size, run_to_end(file_digest(path)), "found in the folder"
            )
            with contextlib.suppress(InputError, ResourceError):  # a shared folder may be read-only
                self.settle(stored)
            return stored
        return StoredWeights(entry.name, path, facts.st_size, note["sha256"], note["source"])

    def stored(self) -> list[StoredWeights]:
        """Everything that is there, in the order of the catalogue."""
        return [found for name in CATALOGUE if (found := self.find(name))]

    def partials(self) -> list[Path]:
        """Downloads that were stopped and can go on."""
        return sorted(self.folder.glob(f"*{PARTIAL}")) if self.folder.is_dir() else []

    def add(self, path: str | os.PathLike) -> Steps[StoredWeights]:
        """Copies a local file of weights into the folder, after a strict check of all its tensors; what was stored for
        that model is replaced.

        :raises InputError: not exactly the weights of one of the models (missing, cut off, wrong file), with the remedy.
        :raises ResourceError: no space.
        """
        from .checkpoint import recognise_file

        path = Path(path).expanduser()
        yield Step(0.0, "Checking the file")
        name = recognise_file(path)
        size = path.stat().st_size
        self.check_space(size, path.name)
        target = self.path_of(CATALOGUE[name])
        if target.exists() and os.path.samefile(path, target) and (found := self.find(name)):
            return found
        digest = hashlib.sha256()
        with replacing(target) as temporary:
            with open(path, "rb") as source, open(temporary, "wb") as copy:
                for block in _blocks(source):
                    copy.write(block)
                    digest.update(block)
                    yield Step(0.05 + 0.9 * min(1.0, copy.tell() / max(size, 1)), f"Copying {path.name}")
            recognise_file(temporary)  # the copy is what will be used
        return self.settle(StoredWeights(name, target, size, digest.hexdigest(), str(path.absolute())))

    def settle(self, stored: StoredWeights) -> StoredWeights:
        """Notes the digest and source of a file that has been put in its place, so that nothing reads it all again."""
        note = {"name": stored.name, "size": stored.size, "sha256": stored.sha256, "source": stored.source}
        replace_text(note_path(stored.path), json.dumps({**note, "modified": stored.path.stat().st_mtime_ns}))
        return stored

    def clear(self, name: str | None = None) -> int:
        """Removes the weights named ``name``, or all, with stopped downloads of them; returns the bytes set free.

        Only files that this store made or knows by name are touched. Raises ResourceError if one is in use.
        """
        entries = list(CATALOGUE.values()) if name is None else [weights_named(name)]
        freed = 0
        for entry in entries:
            path = self.path_of(entry)
            for file in (path, note_path(path), partial_path(path), note_path(partial_path(path))):
                try:
                    size = file.stat().st_size
                    file.unlink()
                    freed += size
                except FileNotFoundError:
                    continue
                except OSError as error:
                    raise ResourceError(
                        f"{str(file)!r} could not be removed ({error.strerror}); close programs that use it and try again"
                    ) from error
        return freed

    def load(self, name_or_path: str | os.PathLike, *, levels: Sequence[int] = (-1,), **options):
        """A frozen :class:`~..dinov2.Dinov2Encoder` with weights from this store, or from a file anywhere.

        :param options: input_scale, precision and device of the encoder.
        :raises InputError: unknown name, weights that are not there (with how to get them), or a file that is not theirs.
        """
        from ..dinov2 import Dinov2Encoder
        from .checkpoint import SAFETENSORS, read_weights

        path = Path(name_or_path)
        if not path.is_file():
            if path.suffix in (".pth", ".pt", SAFETENSORS) or len(path.parts) > 1:
                raise InputError(f"there is no file {str(name_or_path)!r}; check the path, or give the name of a model")
            stored = self.find(os.fspath(name_or_path))
            if stored is None:
                entry = weights_named(os.fspath(name_or_path))
                raise InputError(
                    f"the weights {entry.name} are not on this computer; get them with 's3net weights get {entry.name}' "
                    f"({entry.about_bytes / 1e6:,.0f} MB), or add a file with 's3net weights add {entry.file_name}'"
                )
            path = stored.path
        try:
            return Dinov2Encoder.from_tensors(read_weights(path), levels=levels, **options)
        except InputError as error:
            raise error if str(path) in str(error) else InputError(f"{str(path)!r}: {error}") from None

    def check_space(self, size: int, what: str) -> None:
        """Raises ResourceError if the disk of the folder has no room for ``size`` bytes."""
        folder = self.folder
        while not folder.exists() and folder != folder.parent:
            folder = folder.parent
        free = shutil.disk_usage(folder).free
        if free < size + _BLOCK:
            raise ResourceError(
                f"{what} needs {size / 1e6:,.0f} MB, but the disk of {str(self.folder)!r} has {free / 1e6:,.0f} MB free; "
                "free some space or set S3NET_WEIGHTS to a folder on another disk"
            )


def file_digest(path: Path) -> Steps[str]:
    """SHA-256 of a file, with a step per few megabytes."""
    digest, size = hashlib.sha256(), max(1, path.stat().st_size)
    with open(path, "rb") as file:
        for block in _blocks(file):
            digest.update(block)
            yield Step(min(1.0, file.tell() / size), f"Checking {path.name}")
    return digest.hexdigest()


def _blocks(file) -> Iterator[bytes]:
    while block := file.read(_BLOCK):
        yield block


def partial_path(path: Path) -> Path:
    """Where a download that is not complete lies."""
    return path.with_name(path.name + PARTIAL)


def note_path(path: Path) -> Path:
    return path.with_name(path.name + ".json")


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
        if not self.is_free:
            return _ASKED_FOR
        return f"{PUBLISHER}/{self.name.replace('-', '_').removesuffix('_reg4')}/{self.file_name}"

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
