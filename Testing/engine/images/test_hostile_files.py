"""Files made to harm or damaged in the worst way: refused soon, with a reason, and without taking memory for what they claim."""

import gzip
import json
import os
import signal
import struct
import time
import zipfile
import zlib

import numpy as np
import pytest
import torch
from command_line import PATIENCE
from model_files import write_model

from S3NetSegmentLib.engine import InputError, ResourceError, Segment, Segmentation, run_to_end
from S3NetSegmentLib.engine.common.json_file import read_json
from S3NetSegmentLib.engine.images.formats import header_claims
from S3NetSegmentLib.engine.images.formats.seg_nrrd import read_segmentation
from S3NetSegmentLib.engine.images.reading import read_image
from S3NetSegmentLib.engine.images.writing import write_segmentation
from S3NetSegmentLib.engine.nets.weights.checkpoint import read_torch_file
from S3NetSegmentLib.engine.training.cohort.folder import read_cohort
from S3NetSegmentLib.engine.training.model.model_file import build_network, load_encoder_file, load_model
from S3NetSegmentLib.engine.training.trainer.run_folder import RunFolder

needs_pipes = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")


@pytest.fixture(autouse=True)
def soon():
    """Ends a test that waits for what never comes, or computes without end. Where the signal finds the interpreter there may be
    no line to show, and pytest ends its process while it looks for one: hence no traceback."""
    if not hasattr(signal, "SIGALRM"):
        yield
        return

    def late(number, _):
        pytest.fail("it computed for a minute" if number == signal.SIGPROF else "it waited without end", pytrace=False)

    before = {number: signal.signal(number, late) for number in (signal.SIGPROF, signal.SIGALRM)}
    signal.setitimer(signal.ITIMER_PROF, 60)  # of processor time: on a busy machine a second of it takes long
    signal.alarm(PATIENCE)
    yield
    signal.setitimer(signal.ITIMER_PROF, 0)
    signal.alarm(0)
    for number, handler in before.items():
        signal.signal(number, handler)


def nrrd(path, sizes, keys="", voxels=b"", encoding="gzip"):
    directions = " ".join("(1,0,0) (0,1,0) (0,0,1)".split()[: len(sizes)])
    path.write_bytes(
        f"NRRD0004\ntype: uint8\ndimension: {len(sizes)}\nspace: left-posterior-superior\nsizes: {' '.join(map(str, sizes))}\n"
        f"space directions: {directions}\nkinds: domain domain domain\nencoding: {encoding}\nspace origin: (0,0,0)\n"
        f"{keys}\n".encode()
        + voxels
    )
    return path


def meta(path, size, data="LOCAL", dimensions=3):
    path.write_text(
        f"ObjectType = Image\nNDims = {dimensions}\nDimSize = {size}\nElementSpacing = 1 1 1\nElementType = MET_DOUBLE\n"
        f"ElementDataFile = {data}\n"
    )
    return path


# -- pipes and devices


@needs_pipes
def test_a_pipe_is_refused_instead_of_waited_for(tmp_path):
    pipe = tmp_path / "a.nii.gz"
    os.mkfifo(pipe)
    for read in (read_image, read_segmentation, load_model, read_json):
        with pytest.raises(InputError, match=r"is a pipe or a device"):
            read(pipe)


@needs_pipes
@pytest.mark.parametrize("data", ["pipe", "pipe%d.raw 1 1 1", "LIST\npipe"])
def test_a_header_that_names_a_pipe_as_its_voxels_is_refused(tmp_path, data):
    os.mkfifo(tmp_path / "pipe")
    detached = nrrd(tmp_path / "a.nhdr", (4, 4, 4), f"data file: {data}\n", encoding="raw")
    for header in (detached, meta(tmp_path / "a.mhd", "4 4 1", data)):
        with pytest.raises(InputError, match=r"names its voxels.*pipe or a device"):
            read_image(header)


@needs_pipes
def test_a_cohort_with_a_pipe_among_its_images_is_refused(tmp_path):
    (tmp_path / "images").mkdir()
    os.mkfifo(tmp_path / "images" / "a.nii.gz")
    with pytest.raises(InputError, match="pipe or a device"):
        run_to_end(read_cohort(tmp_path))


# -- headers that claim too much


def test_headers_that_claim_more_than_their_file_can_hold_take_no_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(header_claims, "available_memory_mb", lambda: None)  # the claim alone must be enough
    files = [
        nrrd(tmp_path / "a.nrrd", (4000, 4000, 1000)),
        nrrd(tmp_path / "b.nrrd", (4000, 4000, 1000), encoding="raw"),
        meta(tmp_path / "c.mha", "4000 4000 1000"),
    ]
    began = time.process_time()
    for file in files:
        with pytest.raises(InputError, match=r"its header claims 4000 x 4000 x 1000 voxels.*cannot hold"):
            read_image(file)
    assert time.process_time() - began < 5
    with pytest.raises(InputError, match="999999999 dimensions"):
        read_image(meta(tmp_path / "d.mha", "4 4 4", dimensions=999999999))


@pytest.mark.parametrize(("kind", "order"), [(42, "<"), (42, ">"), (43, "<")])
def test_a_tiff_file_whose_pages_follow_each_other_in_a_circle_is_refused(tmp_path, kind, order):
    entries = [
        (256, 4, 1, 4),
        (257, 4, 1, 4),
        (258, 3, 1, 8),
        (259, 3, 1, 1),
        (262, 3, 1, 1),
        (273, 4, 1, 400),
        (279, 4, 1, 16),
    ]
    mark = {"<": b"II", ">": b"MM"}[order] + struct.pack(order + "H", kind)
    for following, found in ((0, None), (16, "pages have no end")):
        if kind == 42:
            pages = struct.pack(order + "H", len(entries))
            pages += b"".join(
                struct.pack(order + "HHI", *e[:3]) + struct.pack(order + ("I" if e[1] == 4 else "H2x"), e[3])
                for e in entries
            )
            data = mark + struct.pack(order + "I8x", 16) + pages + struct.pack(order + "I", following)
        else:
            pages = struct.pack(order + "Q", len(entries))
            pages += b"".join(
                struct.pack(order + "HHQ", *e[:3]) + struct.pack(order + ("I4x" if e[1] == 4 else "H6x"), e[3])
                for e in entries
            )
            data = mark + struct.pack(order + "HHQ", 8, 0, 16) + pages + struct.pack(order + "Q", following)
        (tmp_path / "a.tif").write_bytes(data.ljust(400, b"\0") + bytes(range(16)))
        if found is None:
            assert read_image(tmp_path / "a.tif").array.ravel().tolist() == list(range(16))
        else:
            with pytest.raises(InputError, match=found):
                read_image(tmp_path / "a.tif")


def test_an_image_that_does_not_fit_into_the_free_memory_is_refused_before_it_is_read(tmp_path, monkeypatch):
    size = 2000

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    pixels = zlib.compress(bytes((size + 1) * size), 9)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", size, size, 8, 0, 0, 0, 0))
    (tmp_path / "a.png").write_bytes(png + chunk(b"IDAT", pixels) + chunk(b"IEND", b""))
    assert read_image(tmp_path / "a.png").size == (size, size, 1)
    monkeypatch.setattr(header_claims, "available_memory_mb", lambda: 3)
    with pytest.raises(ResourceError, match=r"needs 7 MB, and 3 MB are free"):
        read_image(tmp_path / "a.png")


def test_a_gzip_file_that_goes_on_and_on_behind_its_voxels_is_not_read_to_its_end(tmp_path):
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, 4, 4, 4, 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, 2, 8)
    struct.pack_into("<8f", header, 76, 1, 1, 1, 1, 1, 1, 1, 1)
    struct.pack_into("<f", header, 108, 352)
    header[344:348] = b"n+1\0"
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    block = packer.compress(bytes(header) + bytes(64)) + packer.flush(zlib.Z_FULL_FLUSH)
    zeros = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    (tmp_path / "a.nii.gz").write_bytes(block + 20_000 * zeros)  # 20 GB
    assert read_image(tmp_path / "a.nii.gz").size == (4, 4, 4)


# -- segmentations


def test_a_segmentation_with_thousands_of_entries_is_refused_before_it_takes_minutes(tmp_path):
    keys = "".join(f"Segment{n}_ID:=S{n}\nSegment{n}_Name:=n{n}\n" for n in range(30_000))
    with pytest.raises(InputError, match=r"describes 60,000 things.*fewer segments"):
        read_segmentation(nrrd(tmp_path / "a.seg.nrrd", (4, 4, 4), keys, gzip.compress(bytes(64))))
    segments = [Segment(f"n{n}", (1.0, 0.0, 0.0), n + 1) for n in range(3000)]
    with pytest.raises(InputError, match=r"too many for one \.seg\.nrrd"):  # what cannot be read is not written
        write_segmentation(Segmentation([np.zeros((2, 2, 2), np.uint16)], segments, np.eye(4)), tmp_path / "b.seg.nrrd")
    assert not (tmp_path / "b.seg.nrrd").exists()


def test_a_segmentation_of_many_segments_is_read_in_their_order(tmp_path):
    segments = [Segment(f"name {n}", (1.0, 0.0, 0.0), n + 1) for n in range(300)]
    labels = np.arange(512).reshape(8, 8, 8) % 301
    write_segmentation(Segmentation([labels.astype(np.uint16)], segments, np.eye(4)), tmp_path / "a.seg.nrrd")
    assert [s.name for s in read_segmentation(tmp_path / "a.seg.nrrd").segments] == [s.name for s in segments]


@pytest.mark.parametrize(("last", "error"), [(99_999, ResourceError), (10**9 - 1, ResourceError), (10**300, None)])
def test_a_segmentation_that_claims_a_huge_image_takes_no_memory_for_it(tmp_path, last, error):
    matrix = "1;0;0;0;0;1;0;0;0;0;1;0;0;0;0;1"
    keys = (
        f"Segmentation_ConversionParameters:=Reference image geometry|{matrix};0;{last};0;{last};0;{last};|&\n"
        "Segment0_ID:=S\nSegment0_Name:=a\nSegment0_LabelValue:=1\nSegment0_Layer:=0\n"
    )
    path = nrrd(tmp_path / "a.seg.nrrd", (4, 4, 4), keys, gzip.compress(bytes(64)))
    if error is None:  # no image has such a size: the entry is taken as if it were not there
        assert read_segmentation(path).layers[0].shape == (4, 4, 4)
    else:
        with pytest.raises(error, match="does not fit into memory"):
            read_segmentation(path)


# -- models, weights and states of runs


@pytest.fixture
def model(tmp_path):
    path = write_model(tmp_path / "model.pt")
    content = torch.load(path, weights_only=True)

    def changed(**change):
        torch.save({**content, **change}, path)
        return path

    changed.content = content
    return changed


def test_tensors_that_claim_more_than_the_file_holds_or_are_of_another_kind_are_refused(model):
    tensors = model.content["tensors"]
    sparse = torch.sparse_coo_tensor(torch.tensor([[0], [0]]), torch.ones(1), (9, 9), check_invariants=True)
    for tensor in (
        torch.zeros(1).expand(10**6, 10**6),
        sparse,
        torch.zeros(3, device="meta"),
        torch.zeros(3, dtype=torch.complex64),
    ):
        with pytest.raises(InputError, match="damaged"):
            load_model(model(tensors={**tensors, "more": tensor}))


@pytest.mark.parametrize(
    "name", ["format", "version", "kind", "slices", "classes", "level", "temperature", "provenance"]
)
def test_a_tensor_in_the_place_of_a_word_is_refused(model, name):
    for tensor in (torch.zeros(2), torch.full((2,), float("nan")), torch.zeros(())):
        with pytest.raises(InputError):
            load_model(model(**{name: tensor}))


def test_collections_that_hold_each_other_are_refused(model):
    nested = ["x"]
    for _ in range(60):
        nested = [nested, nested]  # small in the file, 2^60 texts to walk through
    with pytest.raises(InputError, match="damaged"):
        load_model(model(provenance={"notes": nested}))


def test_an_archive_that_unpacks_to_far_more_than_it_is_is_not_unpacked(model, tmp_path):
    with zipfile.ZipFile(model()) as sound, zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as bomb:
        for member in sound.infolist():
            content = bytes(200 << 20) if member.filename.endswith("/data/0") else sound.read(member)
            bomb.writestr(member.filename, content)
    with pytest.raises(InputError, match="damaged"):
        read_torch_file(tmp_path / "bomb.pt")


@pytest.mark.parametrize(
    "change",
    [
        {"channels": [10**6, 10**6]}, {"classes": 10**9}, {"channels": [8] * 100_000}, {"channels": []}, {"name": ["x"]},
        {"channels": [-1, 0]}, {"in_channels": 10**20}, {"upsampling": 7}, {"no_such": 1}, {"name": "DINOv2"},
    ],
)  # fmt: skip
def test_a_network_that_its_weights_do_not_fit_is_refused_before_it_is_made(model, change):
    description = {**model.content["network"], **change}
    with pytest.raises(InputError):
        build_network(description, model.content["tensors"])


@pytest.mark.parametrize(
    "change", [{"level": 10**30}, {"level": 9}, {"slices": {"plane": "axial", "spacing": 1.0, "side": 10**9}}]
)
def test_numbers_of_a_model_that_would_harm_later_are_refused(model, change):
    with pytest.raises(InputError, match="damaged"):
        load_encoder_file(model(**change))


def test_a_state_with_parts_missing_or_wrong_is_damaged(tmp_path):
    folder = RunFolder(tmp_path)
    for content in ({}, {"settings": 3}, {"settings": {}, "identity": {}, "step": "x"}):
        folder.write_state(content)
        with pytest.raises(InputError, match=r"damaged.*anew"):
            folder.read_state()


# -- JSON


@pytest.mark.parametrize("text", ["[" * 100_000, "{", "\xff", "1" * 10_000, '{"a": NaN'])
def test_json_that_is_none_or_too_deep_is_refused(tmp_path, text):
    (tmp_path / "status.json").write_text(text, encoding="latin-1")
    with pytest.raises(InputError):
        read_json(tmp_path / "status.json")
    assert RunFolder(tmp_path).read_status() == {}


def test_a_status_with_a_number_that_no_process_has_means_not_running(tmp_path):
    folder = RunFolder(tmp_path)
    folder.write_status("running")
    facts = json.loads((tmp_path / "status.json").read_text())
    for pid in (10**30, -1, 0, "1", None, [1]):
        (tmp_path / "status.json").write_text(json.dumps({**facts, "pid": pid}))
        assert not folder.is_running()


@pytest.mark.parametrize(
    "content",
    ['{"splits": {"test": [["a"]]}}', '{"splits": {"test": [{}]}}', "[" * 100_000, json.dumps({"classes": ["x"] * 200_000})],
    ids=["list", "object", "deep", "many"],
)  # fmt: skip
def test_a_hostile_cohort_json_is_refused_soon(tmp_path, content):
    (tmp_path / "images").mkdir()
    nrrd(tmp_path / "images" / "a.nrrd", (4, 4, 4), voxels=gzip.compress(bytes(64)))
    (tmp_path / "cohort.json").write_text(content)
    with pytest.raises(InputError, match=r"cohort\.json"):
        run_to_end(read_cohort(tmp_path))
