"""``.safetensors``: what the reader takes and refuses, and DINOv2 weights under the names of transformers."""

import json
import struct
import sys

import pytest
import torch
from dinov2_references import NAMES, REFERENCED, in_transformers, model_and_image

from S3NetSegmentLib.engine import InputError, run_to_end
from S3NetSegmentLib.engine.common.errors import MissingPackageError
from S3NetSegmentLib.engine.few_shot.voters.encoders import load_encoder
from S3NetSegmentLib.engine.nets import dinov2
from S3NetSegmentLib.engine.nets.dinov2 import Architecture
from S3NetSegmentLib.engine.nets.weights import CATALOGUE, WeightsFile, WeightsStore
from S3NetSegmentLib.engine.nets.weights.checkpoint import read_safetensors, read_weights, recognise_file
from S3NetSegmentLib.engine.nets.weights.names import published_names

KINDS = [kind for kind, architecture in REFERENCED.items() if "ViT" not in kind and not architecture.rotary]
TYPES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64", torch.bool: "BOOL"}
TINY = Architecture(12, 1, 2, 24)


def plain_bytes(tensor):
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def packed(header, content=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + content


def as_file(path, tensors):
    """Writes ``tensors`` by the description of the format, without our reader's or anybody's code."""
    header, content = {"__metadata__": {"format": "pt"}}, b""
    for name, tensor in tensors.items():
        part = plain_bytes(tensor)
        offsets = [len(content), len(content) + len(part)]
        header[name] = {"dtype": TYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": offsets}
        content += part
    path.write_bytes(packed(header, content))
    return path


def tensor_of(begin=0, end=8, dtype="F32", shape=(2,)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


# ---- the format ----


def test_tensors_of_every_kind_come_back_as_they_were(tmp_path):
    generator = torch.Generator().manual_seed(0)
    tensors = {kind: torch.randn(3, 5, generator=generator).to(dtype) for dtype, kind in TYPES.items()}
    tensors |= {"one": torch.tensor(2.5), "none": torch.zeros(0, 4)}
    path = as_file(tmp_path / "a.safetensors", tensors)
    found = read_safetensors(path)
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype and torch.equal(found[name], tensor)
    shapes = read_safetensors(path, shapes_only=True)
    assert all(shapes[name].shape == t.shape and shapes[name].is_meta for name, t in tensors.items())


def test_a_file_that_was_cut_off_anywhere_is_refused_in_a_sentence(tmp_path):
    whole = as_file(tmp_path / "a.safetensors", {"a": torch.ones(4), "b": torch.zeros(2, 3)}).read_bytes()
    cut = tmp_path / "cut.safetensors"
    for length in range(len(whole)):
        cut.write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"cut.safetensors.*(again|ends)"):
            read_safetensors(cut)
    cut.write_bytes(whole + b"\0")
    with pytest.raises(InputError, match="not fully covered"):
        read_safetensors(cut)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (struct.pack("<Q", 1 << 60) + b"{}", "header too large"),
        (packed({"a": tensor_of(0, 1 << 50, shape=(1 << 48,))}, b"\0" * 8), "file not fully covered"),
        (packed({"a": tensor_of(shape=(1 << 40,))}, b"\0" * 8), "invalid shape"),
        (packed({"a": tensor_of(shape=(1 << 31, 1 << 31, 1 << 31))}, b"\0" * 8), "overflow"),
        (packed({"a": tensor_of(), "b": tensor_of()}, b"\0" * 8), "invalid offset for tensor `[ab]`"),
        (packed({"a": tensor_of(4, 12)}, b"\0" * 12), "invalid offset for tensor `a`"),
        (packed({"a": tensor_of(8, 0)}, b"\0" * 8), "invalid offset for tensor `a`"),
        (packed({"a": tensor_of(-8, 0)}, b"\0" * 8), "-8"),
        (packed({"a": tensor_of(0, 8.0)}, b"\0" * 8), "8.0"),
        (packed({"a": tensor_of(shape=(True, 2))}, b"\0" * 8), "boolean"),
        (packed({"a": tensor_of(dtype="F8_E5M2", shape=(8,))}, b"\0" * 8), "'a' is of type 'F8_E5M2'; known are F64"),
        (packed({"a": tensor_of(dtype="C64", shape=(1,))}, b"\0" * 8), "'a' is of type 'C64'; known are F64"),
        (packed({"a": tensor_of(dtype=[])}, b"\0" * 8), "invalid JSON"),
        (packed({"a": [0, 8]}, b"\0" * 8), "invalid JSON"),
        (packed(b"[1, 2]"), "invalid JSON"),
        (packed(b'{"a": '), "invalid JSON"),
        (packed(b"\xff\xfe"), "UTF-8"),
        (packed(b'{"a":' * 5000 + b"1" + b"}" * 5000), "invalid JSON"),
        (packed(b'{"a": {}, "a": {}}'), "invalid JSON"),
    ],
)  # fmt: skip
def test_a_header_that_claims_what_is_not_there_is_refused_before_memory_is_taken(tmp_path, content, problem):
    path = tmp_path / "bad.safetensors"
    path.write_bytes(content)
    for shapes_only in (False, True):
        with pytest.raises(InputError, match=f"is not a valid .safetensors file: .*{problem}") as found:
            read_safetensors(path, shapes_only=shapes_only)
        assert "bad.safetensors" in str(found.value) and "\n" not in str(found.value)


def test_without_the_package_the_sentence_names_it_and_another_way(tmp_path, monkeypatch):
    path = as_file(tmp_path / "a.safetensors", {"a": torch.ones(4)})
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(
        MissingPackageError, match="needs safetensors; install it with 'pip install safetensors', or"
    ) as error:
        read_safetensors(path)
    assert error.value.package == "safetensors"


def test_what_is_not_there_or_a_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="there is no file"):
        read_weights(tmp_path / "none.safetensors")
    (tmp_path / "a.safetensors").mkdir()
    with pytest.raises(InputError, match="is a folder"):
        read_weights(tmp_path / "a.safetensors")
    (tmp_path / "b.safetensors").touch()
    with pytest.raises(InputError, match="is empty"):
        read_weights(tmp_path / "b.safetensors")


# ---- DINOv2 of transformers ----


@pytest.mark.parametrize("kind", KINDS)
def test_the_names_that_transformers_writes_become_the_published_ones(kind):
    written = {name: torch.zeros(shape) for name, shape in json.loads(NAMES.read_text(encoding="utf-8"))[kind].items()}
    found = {name: tuple(tensor.shape) for name, tensor in published_names(written).items()}
    assert found == REFERENCED[kind].shapes()
    prefixed = {f"dinov2_with_registers.{name}": tensor for name, tensor in written.items()}
    assert published_names(prefixed).keys() == found.keys()


@pytest.mark.parametrize("kind", KINDS)
def test_every_weight_comes_to_its_place(kind, tmp_path):
    """The names of :func:`in_transformers` load strictly into transformers, whose tokens are compared with ours elsewhere."""
    model, image = model_and_image(kind, (28, 42))
    found = read_weights(as_file(tmp_path / "model.safetensors", in_transformers(model)))
    loaded = REFERENCED[kind].build()
    loaded.load_state_dict(found, strict=True)
    with torch.no_grad():
        assert torch.equal(loaded.eval().tokens(image)[0], model.tokens(image)[0])


def test_a_part_that_is_missing_or_a_tensor_too_many_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(dinov2, "ARCHITECTURES", {"dinov2-tiny14": REFERENCED["plain"]})
    tensors = in_transformers(model_and_image("plain", (14, 14))[0])
    less = {name: tensor for name, tensor in tensors.items() if name != "encoder.layer.1.attention.k_proj.bias"}
    with pytest.raises(InputError, match=r"'blocks.1.attn.qkv.bias' there are 2 of 3 parts"):
        recognise_file(as_file(tmp_path / "less.safetensors", less))
    single = {name: torch.tensor(1.0) if ".layer.0.attention." in name else t for name, t in tensors.items()}
    with pytest.raises(InputError, match="or they differ in shape"):
        recognise_file(as_file(tmp_path / "single.safetensors", single))
    torch.save({"embeddings.cls_token": torch.ones(1, 1, 2), 3: torch.ones(2)}, tmp_path / "numbers.bin")
    with pytest.raises(InputError, match="not those of a DINOv2 backbone"):
        recognise_file(tmp_path / "numbers.bin")
    more = as_file(tmp_path / "more.safetensors", {**tensors, "classifier.weight": torch.ones(2, 2)})
    with pytest.raises(InputError, match=r"1 unknown \(classifier.weight\)"):
        recognise_file(more)
    assert recognise_file(as_file(tmp_path / "right.safetensors", tensors)) == "dinov2-tiny14"


def test_such_a_file_is_kept_in_the_store_and_serves_as_an_encoder(tmp_path, monkeypatch):
    monkeypatch.setattr(dinov2, "ARCHITECTURES", {"dinov2-tiny14": TINY})
    monkeypatch.setitem(CATALOGUE, "dinov2-tiny14", WeightsFile("dinov2-tiny14", 17_000, "0" * 64))
    model = TINY.build().initialize(torch.Generator().manual_seed(0))
    file = as_file(tmp_path / "model.safetensors", in_transformers(model))
    store = WeightsStore(tmp_path / "weights")
    stored = run_to_end(store.add(file))
    assert stored.name == "dinov2-tiny14" and not stored.is_published
    image = torch.rand(1, 1, 28, 28)
    for encoder in (load_encoder(file, "cpu", store), load_encoder("dinov2-tiny14", "cpu", store)):
        state = encoder.network.transformer.state_dict()
        assert all(torch.allclose(state[name].float(), t, atol=0.01) for name, t in model.state_dict().items())
        assert encoder.network(image)[0].shape == (1, 12, 2, 2)
    file.write_bytes(file.read_bytes()[:-5])
    with pytest.raises(InputError, match=r"not a valid .safetensors file.*not fully covered"):
        run_to_end(store.add(file))
    with pytest.raises(InputError, match=r"no file 'nowhere.safetensors'"):
        store.load("nowhere.safetensors")
