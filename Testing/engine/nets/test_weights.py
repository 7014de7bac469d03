"""Weights: the catalogue, the user's folder, and local files."""

import os
import pickle
from pathlib import Path

import pytest
import torch
from tiny_weights import TINY, names_in

from S3NetSegmentLib import user_cache
from S3NetSegmentLib.engine import InputError, ResourceError, run_to_end
from S3NetSegmentLib.engine.nets import dinov2
from S3NetSegmentLib.engine.nets.dinov2 import Architecture
from S3NetSegmentLib.engine.nets.weights import (
    CATALOGUE,
    WeightsStore,
    store,
    weights_folder,
    weights_named,
)
from S3NetSegmentLib.engine.nets.weights.checkpoint import read_weights
from S3NetSegmentLib.engine.nets.weights.download import download_weights

pytestmark = pytest.mark.usefixtures("tiny")


# ---- the catalogue ----


def test_the_catalogue_names_the_published_files_with_address_and_those_of_dinov2_with_digest(monkeypatch):
    monkeypatch.undo()  # without the tiny one
    assert len(CATALOGUE) == 11 and set(CATALOGUE) == set(dinov2.ARCHITECTURES)
    entry = CATALOGUE["dinov2-vitb14-reg4"]
    assert entry.url == "https://dl.fbaipublicfiles.com/dinov2/dinov2_vitb14/dinov2_vitb14_reg4_pretrain.pth"
    for entry in CATALOGUE.values():
        assert len(bytes.fromhex(entry.sha256)) == (32 if entry.is_free else 0)
        assert entry.is_free == entry.name.startswith("dinov2-")
        expected = sum(torch.Size(shape).numel() for shape in dinov2.ARCHITECTURES[entry.name].shapes().values())
        assert entry.parameters == expected and 0 < entry.about_bytes - 4 * expected < 200_000
    assert len({entry.sha256 for entry in CATALOGUE.values() if entry.is_free}) == 8


@pytest.mark.parametrize(
    "text", ["dinov2_vits14_reg", "DINOv2-ViTS14-reg4", "dinov2_vits14_reg4_pretrain.pth", " dinov2-vits14-reg4 "]
)
def test_the_publishers_spellings_are_understood(text):
    assert weights_named(text).name == "dinov2-vits14-reg4"


def test_an_unknown_name_is_answered_with_those_that_exist():
    with pytest.raises(InputError, match=r"'resnet'.*dinov2-vits14, dinov2-vits14-reg4"):
        weights_named("resnet")


@pytest.mark.parametrize(
    ("name", "platform", "variables", "expected"),
    [
        ("posix", "linux", {"XDG_CACHE_HOME": "/c"}, "/c/S3NetSegment/weights"),
        ("posix", "linux", {"HOME": "/h"}, "/h/.cache/S3NetSegment/weights"),
        ("posix", "darwin", {"HOME": "/h"}, "/h/Library/Caches/S3NetSegment/weights"),
        ("nt", "win32", {"LOCALAPPDATA": "/l"}, "/l/S3NetSegment/weights"),
        ("posix", "linux", {"S3NET_WEIGHTS": "/own"}, "/own"),
    ],
)
def test_the_folder_is_where_the_system_wants_it(monkeypatch, name, platform, variables, expected):
    class System:
        environ = variables

        def __getattr__(self, attribute):
            return getattr(os, attribute)

    system = System()
    system.name = name
    monkeypatch.setattr(store, "os", system)
    monkeypatch.setattr(user_cache, "os", system)
    monkeypatch.setattr(user_cache.sys, "platform", platform)
    monkeypatch.setattr(user_cache.Path, "home", lambda: Path(variables["HOME"]))
    assert weights_folder().as_posix() == expected


# ---- local files ----


def test_a_local_file_is_copied_checked_and_found_again(folder, local, published, tiny):
    steps = []
    stored = run_to_end(folder.add(local), steps.append)
    assert stored.path.read_bytes() == published and stored.path.name == tiny.file_name
    assert stored.is_published and stored.sha256 == tiny.sha256 and stored.source == str(local)
    assert steps[-1].fraction <= 1 and "Copying" in steps[-1].message
    assert WeightsStore(folder.folder).stored() == [stored]
    assert names_in(folder) == [tiny.file_name, f"{tiny.file_name}.json"]


def test_weights_of_the_same_shape_are_kept_and_called_not_published(folder, tmp_path):
    model = Architecture(12, 1, 2, 24).build().initialize(torch.Generator().manual_seed(9))
    torch.save(dict(model.state_dict()), tmp_path / "tuned.pth")
    stored = run_to_end(folder.add(tmp_path / "tuned.pth"))
    assert stored.name == TINY and not stored.is_published


def test_adding_what_is_stored_already_changes_nothing(folder, local):
    stored = run_to_end(folder.add(local))
    assert run_to_end(folder.add(stored.path)) == stored


@pytest.mark.parametrize("keep", [0, 10, 2000, -1000])
def test_a_truncated_file_is_refused_and_nothing_is_stored(folder, local, published, keep):
    local.write_bytes(published[:keep])
    with pytest.raises(InputError, match=r"empty \(0 bytes\)|cut off.*s3net weights get"):
        run_to_end(folder.add(local))
    assert not folder.folder.exists() or not names_in(folder)


def _snapshot(path):
    torch.save({"model": {"w": torch.zeros(3)}, "epoch": 3}, path)


def _head(path):
    torch.save({"weight": torch.zeros(1000, 384), "bias": torch.zeros(1000)}, path)


class _Evil:
    def __reduce__(self):
        return (os.mkdir, ("was-executed",))


@pytest.mark.parametrize(
    ("write", "told"),
    [
        (lambda p: p.write_text("not weights at all"), "no file of weights"),
        (_head, "not those of a DINOv2 backbone"),
        (_snapshot, "not a training snapshot"),
        (lambda p: p.write_bytes(pickle.dumps(_Evil(), protocol=2)), "could run code"),
        (lambda p: torch.save({"a": _Evil()}, p), "could run code"),
        (lambda p: p.mkdir(), "is a folder"),
        (lambda p: None, "no file or folder"),
    ],
    ids=["text", "linear head", "snapshot", "pickle", "code", "folder", "missing"],
)
def test_a_wrong_file_is_refused_with_the_reason(folder, tmp_path, monkeypatch, write, told):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "wrong.pth"
    write(path)
    with pytest.raises(InputError, match=told):
        run_to_end(folder.add(path))
    assert not (tmp_path / "was-executed").exists()
    assert not folder.folder.exists() or not names_in(folder)


def test_a_refused_file_leaves_the_stored_one_in_place(folder, local, published):
    stored = run_to_end(folder.add(local))
    local.write_bytes(published[:-50])
    with pytest.raises(InputError):
        run_to_end(folder.add(local))
    assert folder.find(TINY) == stored and stored.path.read_bytes() == published


def test_a_cancelled_copy_leaves_nothing(folder, local):
    steps = folder.add(local)
    for _ in range(2):
        next(steps)
    steps.close()
    assert not names_in(folder)


def test_a_file_put_into_the_folder_by_hand_is_found_and_a_changed_one_is_looked_at_again(folder, published, tiny):
    folder.folder.mkdir()
    path = folder.path_of(tiny)
    path.write_bytes(published)
    assert folder.find(TINY).is_published
    path.write_bytes(published[:-1] + b"x")
    assert not folder.find(TINY).is_published


def test_clear_removes_weights_and_stopped_downloads_but_no_foreign_file(folder, local, tiny):
    run_to_end(folder.add(local))
    (folder.folder / f"{CATALOGUE['dinov2-vits14'].file_name}.part").write_bytes(b"12345")
    (folder.folder / "notes.txt").write_text("mine")
    assert [p.name for p in folder.partials()] == ["dinov2_vits14_pretrain.pth.part"]
    assert folder.clear("dinov2-vits14") == 5 and folder.find(TINY)
    assert folder.clear() > tiny.size
    assert names_in(folder) == ["notes.txt"] and folder.clear() == 0


def test_a_full_disk_is_told_before_anything_is_copied(folder, local, monkeypatch):
    monkeypatch.setattr(store.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 1000})())
    with pytest.raises(ResourceError, match="S3NET_WEIGHTS"):
        run_to_end(folder.add(local))
    with pytest.raises(ResourceError, match="free some space"):
        run_to_end(download_weights("dinov2-vits14", folder))  # refused before the network is asked
    assert not folder.folder.exists()


def test_stored_weights_become_a_frozen_encoder(folder, local):
    run_to_end(folder.add(local))
    encoder = folder.load(TINY)
    expected = read_weights(local)
    assert all(torch.equal(t, expected[name]) for name, t in encoder.transformer.state_dict().items())
    assert not any(p.requires_grad for p in encoder.parameters()) and not encoder.transformer.training
    image = torch.rand(1, 1, 28, 42, generator=torch.Generator().manual_seed(0))
    assert torch.equal(encoder(image)[0], folder.load(local)(image)[0])


def test_missing_weights_are_answered_with_how_to_get_them(folder, tmp_path):
    with pytest.raises(InputError, match=r"not on this computer.*s3net weights get dinov2-vits14-reg4.*88 MB"):
        folder.load("dinov2_vits14_reg")
    with pytest.raises(InputError, match="no file"):
        folder.load(tmp_path / "gone.pth")
    with pytest.raises(InputError, match="no weights named"):
        folder.load("resnet50")
