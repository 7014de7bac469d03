"""Files made to harm: headers that claim too much, archives that unpack without end, pipes and devices in the place of voxels,
endless lists of segments, nested descriptions. Each must be read or refused with the engine's own errors, soon, and with a
bounded amount of memory, which is measured in a process of its own for every file."""

from __future__ import annotations

import gzip
import io
import json
import os
import signal
import struct
import tempfile
import time
import warnings
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from batch_cases import write_drawn_ball
from image_files import write_dicom_series
from model_files import write_model

SECONDS, MEGABYTES = 60, 700  # for one file, which has a few hundred kilobytes; much time, since machines are busy
_TYPES = ("uint8", "int16", "float", "double")
_META_TYPES = ("MET_UCHAR", "MET_SHORT", "MET_FLOAT", "MET_DOUBLE")
_HUGE = (
    0,
    1,
    2,
    255,
    256,
    32767,
    65535,
    65536,
    10**6,
    2**31 - 1,
    2**31,
    2**32 - 1,
    10**12,
    2**63 - 1,
    2**63,
    10**30,
    -1,
)
_ODD = (float("nan"), float("inf"), -1.0, 0.0, 1e308, -1e308, 1e-320, 5.0)


def run(count: int, seed: int) -> list[str]:
    """Tries ``count`` files; prints how many of which kind and the most memory; returns what went wrong."""
    if not hasattr(os, "fork"):
        print("hostile  0 files: they need processes that can be forked, which this system has not")
        return []
    failures: list[str] = []
    tried, refused, most, slowest, began = Counter(), Counter(), 0.0, 0.0, time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        kinds = _kinds(folder)
        for number in range(count):
            rng = np.random.default_rng([seed, number])
            kind = sorted(kinds)[number % len(kinds)]
            work = folder / "work"
            work.mkdir()
            read = kinds[kind](work, rng)
            before = {str(p) for p in folder.rglob("*")}
            ended = _in_a_process(read)
            tried[kind] += 1
            refused[kind] += ended["end"] == "refused"
            most, slowest = max(most, ended["megabytes"]), max(slowest, ended["seconds"])
            told = f"hostile --seed {seed}, file {number} ({kind})"
            if ended["end"] not in ("read", "refused"):
                failures.append(f"{told}: {ended['end']}"[:500])
            if ended["megabytes"] > MEGABYTES:
                failures.append(f"{told}: it took {ended['megabytes']:.0f} MB")
            if new := {str(p) for p in folder.rglob("*")} - before:
                failures.append(f"{told}: it wrote {sorted(new)[:3]}")
            for path in sorted(work.rglob("*"), reverse=True):
                path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
            work.rmdir()
    for kind in sorted(tried):
        print(f"hostile  {kind:<12} {tried[kind]:>6,} files, {refused[kind]:>6,} refused, the others read")
    print(
        f"hostile  {count:,} files in {time.monotonic() - began:.0f} s, the slowest {slowest:.1f} s, at most {most:.0f} MB, "
        f"{len(failures)} failures"
    )
    return failures


def _in_a_process(read: Callable) -> dict:
    """Calls ``read`` in a process of its own: how it ended, its seconds and the megabytes that it took more than before."""
    from S3NetSegmentLib.engine import InputError, ResourceError

    ours, theirs = os.pipe()
    began, process = time.monotonic(), os.fork()
    if not process:
        ended, before = "read", _peak()
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(SECONDS)
            warnings.simplefilter("ignore")
            read()
        except (InputError, ResourceError):
            ended = "refused"
        except BaseException as error:
            ended = f"{type(error).__name__}: {error}"
        os.write(theirs, json.dumps({"end": ended[:400], "megabytes": _peak() - before}).encode())
        os._exit(0)
    os.close(theirs)
    _, status = os.waitpid(process, 0)
    with os.fdopen(ours, "rb") as file:
        told = file.read()
    seconds = time.monotonic() - began
    if not told:
        number = os.waitstatus_to_exitcode(status)
        why = f"longer than {SECONDS} s" if number == -signal.SIGALRM else f"its process ended with {number}"
        return {"end": why, "megabytes": 0.0, "seconds": seconds}
    return {**json.loads(told), "seconds": seconds}


def _peak() -> float:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _kinds(folder: Path) -> dict[str, Callable]:
    """Kind -> function that makes a file in a folder with a random generator and returns what reads it."""
    import torch

    from S3NetSegmentLib.engine import drain
    from S3NetSegmentLib.engine.batch.manifest import read_manifest
    from S3NetSegmentLib.engine.few_shot.support_files import SupportFile
    from S3NetSegmentLib.engine.images.reading import read_image
    from S3NetSegmentLib.engine.images.seg_nrrd import read_segmentation
    from S3NetSegmentLib.engine.methods.few_shot_task import FewShotTask, read_drawings
    from S3NetSegmentLib.engine.training.cohort import read_cohort
    from S3NetSegmentLib.engine.training.model_file import is_model_file, load_encoder_file, load_model
    from S3NetSegmentLib.engine.training.run_folder import RunFolder
    from S3NetSegmentLib.engine.weights.checkpoint import recognise_file

    write_drawn_ball(folder)
    ball = read_image(folder / "ball.nii.gz")
    write_model(folder / "model.pt")
    content = torch.load(folder / "model.pt", weights_only=True)
    (series,) = write_dicom_series(folder / "series", np.zeros((1, 8, 8), np.int16), np.eye(4))
    dicom = series.read_bytes()

    def image(make, name):
        def kind(work, rng):
            path = work / name
            make(path, rng)
            return lambda: read_image(path)

        return kind

    def segmentation(work, rng):
        path = work / "a.seg.nrrd"
        _seg_nrrd(path, rng)

        def read():
            read_segmentation(path)
            read_drawings(ball, FewShotTask((SupportFile(str(path), None, None),)))

        return read

    def model(work, rng):
        path = work / "model.pt"
        torch.save(_changed(content, rng, torch), path)
        if rng.random() < 0.3:
            _packed(path, rng)

        def read():
            is_model_file(path)
            if rng.random() < 0.5:
                load_encoder_file(path)
            load_model(path).build()

        return read

    def weights(work, rng):
        path = work / "w.pth"
        tensors = {"pos_embed": torch.zeros(1).expand(1, 1370, int(rng.choice([384, 10**9])))}
        torch.save(tensors | {f"t{n}": torch.zeros(1) for n in range(rng.integers(0, 50))}, path)
        if rng.random() < 0.5:
            _packed(path, rng)
        return lambda: recognise_file(path)

    def run_folder(work, rng):
        state = {
            "format": "S3NetSegment training state", "version": 1, "settings": {}, "identity": {}, "step": 1, "steps": 2, "plan_from": [0, 0.0],
            "seconds": 0.0, "stale": 0, "validation_due": False, "best": None, "notes": [], "task": {}, "optimisation": {},
        }  # fmt: skip
        torch.save(_changed(state, rng, torch), work / "state.pt")
        for name in ("status.json", "log.jsonl"):
            (work / name).write_bytes(_json(rng))

        def read():
            folder = RunFolder(work)
            folder.is_running()
            list(folder.entries())
            folder.read_state()

        return read

    def cohort(work, rng):
        (work / "images").mkdir()
        (work / "images" / "a.nii.gz").write_bytes((folder / "ball.nii.gz").read_bytes())
        if rng.random() < 0.2:
            os.mkfifo(work / "images" / "b.nrrd")
        names = ["a", 1, None, ["a"], {"a": 1}, "x" * 1000, "../a", "\0"]
        wrong = {
            "patients": {str(rng.choice(["a", "b"])): names[rng.integers(8)]},
            "splits": {
                str(rng.choice(["train", "test", "x"])): [names[rng.integers(8)]] * int(rng.choice([1, 2, 100_000]))
            },
            "classes": [
                {
                    "name": names[rng.integers(8)],
                    "value": int(rng.choice([0, 1, 70_000])),
                    "color": names[rng.integers(8)],
                }
            ]
            * int(rng.choice([1, 300, 100_000])),
        }
        chosen = {name: value for name, value in wrong.items() if rng.random() < 0.6}
        text = json.dumps(chosen).encode() if rng.random() < 0.8 else _json(rng)
        (work / "cohort.json").write_bytes(text)
        return lambda: drain(read_cohort(work))

    def manifest(work, rng):
        (work / "a.png").write_bytes(b"x")
        if rng.random() < 0.5:
            rows = b"image,output\n" + b"".join(b"a.png,o%d\n" % n for n in range(rng.choice([1, 5000])))
            (work / "m.csv").write_bytes(
                rows + bytes(rng.choice([b'"', b"," * 10**6, b"a" * 10**6, b"../x,../../y\n", b""]))
            )
            return lambda: read_manifest(work / "m.csv", work / "out")
        (work / "m.json").write_bytes(_json(rng))
        return lambda: read_manifest(work / "m.json", work / "out")

    def dicom_file(path, rng):
        data = bytearray(dicom)
        for tag in (
            b"\x28\x00\x10\x00",
            b"\x28\x00\x11\x00",
            b"\x28\x00\x02\x00",
            b"\x28\x00\x00\x01",
        ):  # rows, columns, samples, bits
            at = data.find(tag)
            if at > 0 and rng.random() < 0.6:
                data[at + 8 : at + 10] = struct.pack("<H", int(rng.choice([0, 1, 8, 65535])))
        if rng.random() < 0.5:
            at = data.find(b"\xe0\x7f\x10\x00")
            data[at + 8 : at + 12] = struct.pack("<I", int(rng.choice([0, 2**31, 2**32 - 1])))
        path.write_bytes(bytes(data))

    return {
        "nifti": image(_nifti, "a.nii"), "nifti_gz": image(_nifti, "a.nii.gz"), "nrrd": image(_nrrd, "a.nrrd"),
        "nhdr": image(_nrrd, "a.nhdr"), "mha": image(_meta, "a.mha"), "mhd": image(_meta, "a.mhd"), "png": image(_png, "a.png"),
        "tiff": image(_tiff, "a.tif"), "bmp": image(_bmp, "a.bmp"), "dicom": image(dicom_file, "a.dcm"), "seg_nrrd": segmentation,
        "model": model, "weights": weights, "run": run_folder, "cohort": cohort, "manifest": manifest,
    }  # fmt: skip


def _nifti(path: Path, rng) -> None:
    header = bytearray(352)
    sizes = [int(rng.choice([1, 2, 8, 255, 1000, 32767, -1, 0])) for _ in range(7)]
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, int(rng.choice([0, 1, 2, 3, 3, 4, 5, 7, 8, -1])), *sizes)
    struct.pack_into("<2h", header, 70, int(rng.choice([2, 4, 8, 16, 64, 128, 256, 512, 1024, 32, 999])), 8)
    struct.pack_into("<8f", header, 76, *(float(v) for v in rng.choice(_ODD, 8).clip(-3e38, 3e38)))
    struct.pack_into(
        "<3f",
        header,
        108,
        float(rng.choice([0, 352, 1e9, 3e38, 352])),
        *(float(v) for v in rng.choice([0, 1, 3e38, -1], 2)),
    )
    header[123] = int(rng.choice([0, 1, 2, 3, 255]))
    struct.pack_into("<2h", header, 252, *(int(v) for v in rng.choice([0, 1, 2, -1], 2)))
    struct.pack_into("<6f", header, 256, *(float(v) for v in rng.choice(_ODD, 6).clip(-3e38, 3e38)))
    struct.pack_into("<12f", header, 280, *(float(v) for v in rng.choice(_ODD, 12).clip(-3e38, 3e38)))
    header[344:348] = bytes(rng.choice([b"n+1", b"ni1"])) + b"\0"
    data = bytes(header) + bytes(int(rng.choice([0, 64, 4096])))
    if path.suffix == ".gz":
        packer = zlib.compressobj(1, zlib.DEFLATED, 31)
        data = packer.compress(data) + packer.flush(zlib.Z_FULL_FLUSH)
        zeros = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
        data += zeros * int(rng.choice([0, 1, 300]))
    path.write_bytes(data)


def _elsewhere(path: Path, rng) -> str:
    """The name of a file of voxels that is none."""
    if not (path.parent / "pipe").exists():
        os.mkfifo(path.parent / "pipe")
    (path.parent / "few").write_bytes(bytes(64))
    names = (
        "pipe",
        "/dev/zero",
        "/dev/stdin",
        "few",
        "none",
        "LIST\npipe\npipe",
        "LIST\n/dev/zero",
        "pipe%d 1 9 1",
        ".",
        "/proc/self/mem",
    )
    return str(rng.choice(names))


def _nrrd(path: Path, rng) -> None:
    count = int(rng.choice([1, 2, 3, 3, 3, 4, 16, 17]))
    sizes = [
        int(rng.choice(np.array(_HUGE, object))) if rng.random() < 0.5 else int(rng.integers(1, 3000))
        for _ in range(count)
    ]
    lines = [
        f"NRRD000{rng.integers(1, 6)}", f"type: {rng.choice(_TYPES)}", f"dimension: {count}", f"sizes: {' '.join(map(str, sizes))}",
        f"encoding: {rng.choice(['raw', 'gzip', 'ascii', 'hex', 'bzip2'])}", "endian: little",
    ]  # fmt: skip
    if rng.random() < 0.5:
        lines.append(f"spacings: {' '.join(str(v) for v in rng.choice(_ODD, count))}")
    if rng.random() < 0.3:
        lines.append(f"{rng.choice(['line skip', 'byte skip'])}: {int(rng.choice([-1, 10**9, 2**62]))}")
    if path.suffix == ".nhdr" or rng.random() < 0.1:
        lines.insert(
            int(rng.integers(1, len(lines) + 1)) if rng.random() < 0.8 else len(lines),
            f"data file: {_elsewhere(path, rng)}",
        )
    if rng.random() < 0.1:
        lines += [f"key{n}:=value" for n in range(int(rng.choice([10, 40_000])))]
    path.write_bytes(("\n".join(lines) + "\n\n").encode() + gzip.compress(bytes(int(rng.choice([0, 64, 1 << 24])))))


def _seg_nrrd(path: Path, rng) -> None:
    last = [int(rng.choice(np.array([3, 300, 10**5, 10**9, 10**18, -5], object))) for _ in range(3)]
    numbers = " ".join(["1;0;0;0;0;1;0;0;0;0;1;0;0;0;0;1"]) if rng.random() < 0.8 else ";".join(["nan"] * 16)
    count = int(rng.choice([1, 3, 300, 60_000]))
    name = str(rng.choice(["a", "x" * 10**6, "<script>", "../../x", "\\n", "|:|", "\u202e"]))
    value = str(rng.choice(["1", "0", "-1", "65536", "9" * 30, "nan", ""]))
    keys = [
        f"Segmentation_ConversionParameters:=Reference image geometry|{numbers};{';'.join(f'0;{n}' for n in last)};|&"
    ]
    for n in range(count):
        keys += [
            f"Segment{n}_ID:=S{n}",
            f"Segment{n}_Name:={name if n == 0 else n}",
            f"Segment{n}_Layer:={rng.choice(['0', '1', '-1', '9'])}",
        ]
        keys += [
            f"Segment{n}_LabelValue:={value if n == 0 else n % 250 + 1}",
            f"Segment{n}_Color:={rng.choice(['1 0 0', '', 'x', '2 2 2'])}",
        ]
    path.write_bytes(
        b"NRRD0004\ntype: uint8\ndimension: 3\nspace: left-posterior-superior\nsizes: 4 4 4\nspace directions: (1,0,0) (0,1,0) (0,0,1)\n"
        b"kinds: domain domain domain\nencoding: gzip\nspace origin: (0,0,0)\n" + "\n".join(keys).encode() + b"\n\n"
        + gzip.compress(bytes([*range(4)] * 16))
    )  # fmt: skip


def _meta(path: Path, rng) -> None:
    count = rng.choice(["1", "2", "3", "3", "3", "4", "11", "999999999", "-1", "x"])
    sizes = [
        int(rng.choice(np.array(_HUGE, object))) if rng.random() < 0.5 else int(rng.integers(1, 3000)) for _ in range(3)
    ]
    data = "LOCAL" if path.suffix == ".mha" and rng.random() < 0.8 else _elsewhere(path, rng)
    packed = rng.random() < 0.5
    lines = ["ObjectType = Image", f"NDims = {count}", "BinaryData = True", f"CompressedData = {packed}"]
    lines += [f"CompressedDataSize = {rng.choice(np.array(_HUGE, object))}"] if packed else []
    lines += [
        f"DimSize = {' '.join(map(str, sizes))}",
        f"ElementSpacing = {' '.join(str(v) for v in rng.choice(_ODD, 3))}",
    ]
    lines += [f"ElementNumberOfChannels = {rng.choice(np.array(_HUGE, object))}"] if rng.random() < 0.2 else []
    lines += [f"ElementType = {rng.choice(_META_TYPES)}", f"ElementDataFile = {data}"]
    path.write_bytes(("\n".join(lines) + "\n").encode() + zlib.compress(bytes(int(rng.choice([0, 64, 1 << 24])))))


def _png(path: Path, rng) -> None:
    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    width, height = (int(rng.choice([1, 8, 300, 20_000, 10**6, 2**31 - 1])) for _ in range(2))
    head = struct.pack(
        ">IIBBBBB",
        width,
        height,
        int(rng.choice([1, 8, 16, 7])),
        int(rng.choice([0, 2, 3, 4, 6, 9])),
        0,
        0,
        int(rng.integers(0, 3)),
    )
    pixels = zlib.compress(bytes(int(rng.choice([0, 100, 1 << 25]))), 9)
    text = chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(1 << 25), 9)) if rng.random() < 0.3 else b""
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + text + chunk(b"IDAT", pixels) + chunk(b"IEND", b""))


def _tiff(path: Path, rng) -> None:
    width, height = (int(rng.choice([1, 8, 300, 20_000, 10**6, 2**32 - 1])) for _ in range(2))
    strip = zlib.compress(bytes(int(rng.choice([0, 100, 1 << 25]))), 9)
    entries = [
        (256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, int(rng.choice([1, 8, 16, 64]))), (259, 3, 1, int(rng.choice([1, 5, 8, 32773]))),
        (262, 3, 1, int(rng.integers(0, 4))), (273, 4, int(rng.choice([1, 2**31])), 200), (277, 3, 1, int(rng.choice([1, 3, 65535]))),
        (278, 4, 1, int(rng.choice([1, 10**6, 2**32 - 1]))), (279, 4, 1, int(rng.choice([len(strip), 0, 2**32 - 1]))),
    ]  # fmt: skip
    directory = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries)
    data = b"II*\0" + struct.pack("<I", 8) + directory + struct.pack("<I", int(rng.choice([0, 8, 2**31])))
    path.write_bytes(data.ljust(200, b"\0") + strip)


def _bmp(path: Path, rng) -> None:
    width, height = (int(rng.choice([1, 8, 20_000, 2**31 - 1, -(2**31), -8, 0])) for _ in range(2))
    bits, packing = int(rng.choice([1, 4, 8, 24, 32, 99])), int(rng.choice([0, 1, 2, 3]))
    head = struct.pack(
        "<IiiHHIIiiII", 40, width, height, 1, bits, packing, 0, 0, 0, int(rng.choice([0, 256, 2**31])), 0
    )
    path.write_bytes(
        b"BM"
        + struct.pack("<IHHI", 54, 0, 0, int(rng.choice([54, 0, 2**31])))
        + head
        + bytes(int(rng.choice([0, 64, 5000])))
    )


def _json(rng) -> bytes:
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


def _changed(content: dict, rng, torch) -> dict:
    """``content`` with one or two entries, at any depth, replaced by something hostile."""
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


def _packed(path: Path, rng) -> None:
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
