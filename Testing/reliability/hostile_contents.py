"""What stands inside files that is made to harm: descriptions (JSON), entries of models and states, members of archives."""

from __future__ import annotations

import io
import warnings
import zipfile
from pathlib import Path


def hostile_json(rng) -> bytes:
    """JSON that is none, deep, long or of wrong kinds."""
    deep = b"[" * int(rng.choice([10, 100_000])) + b"]" * int(rng.choice([0, 10]))
    number = b'{"pid": ' + b"9" * int(rng.choice([20, 10_000])) + b', "status": "running", "host": "x"}'
    many = b"[" + b'{"image": "a.png"},' * int(rng.choice([1, 20_000])) + b"{}]"
    texts = [
        deep,
        number,
        many,
        b"nul",
        b"\xff\xfe",
        b"",
        b'{"cases": {"a": 1}}',
        b'[[["a"]]]',
        b'{"a": NaN}',
        b'{"step": [], "loss": {}}',
    ]
    return texts[int(rng.integers(len(texts)))]


def altered(content: dict, rng) -> dict:
    """``content`` with one or two entries, at any depth, replaced by something hostile."""
    import torch

    nested = ["x"]
    for _ in range(int(rng.choice([3, 60]))):
        nested = [nested, nested]
    hostile = [
        None, -1, 0, 10**30, 10**9, float("nan"), "x", "x" * 10**6, [], {}, [[]], nested, [8] * 100_000, [10**6, 10**6], True,
        torch.zeros(1).expand(10**6, 10**6), torch.zeros(2, dtype=torch.complex64), torch.zeros(3, device="meta"), torch.full((2,), float("nan")),
        {str(n): n for n in range(50_000)}, b"bytes",
    ]  # fmt: skip
    changed = dict(content)
    for _ in range(rng.integers(1, 3)):
        place, key = changed, str(rng.choice(sorted(changed)))
        while isinstance(place[key], dict) and place[key] and rng.random() < 0.6:
            place[key] = dict(place[key])
            place, key = place[key], str(rng.choice(sorted(map(str, place[key]))))
        place[key] = hostile[int(rng.integers(len(hostile)))]
    return changed


def repacked(path: Path, rng) -> None:
    """Packs the archive at ``path`` anew, with members that unpack to much, lead elsewhere or are there twice."""
    packed = io.BytesIO()
    with (
        warnings.catch_warnings(),
        zipfile.ZipFile(path) as sound,
        zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        warnings.simplefilter("ignore")
        for member in sound.infolist():
            name, content = member.filename, sound.read(member)
            if name.endswith("/data/0") and rng.random() < 0.5:
                content = bytes(int(rng.choice([1 << 20, 1 << 27])))
            archive.writestr(name, content)
            if rng.random() < 0.1:
                archive.writestr(str(rng.choice(["../../evil", "/tmp/evil", name])), content[: 1 << 16])
    path.write_bytes(packed.getvalue())
