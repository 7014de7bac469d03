"""``s3net weights`` as a process."""

import json

import pytest
from command_line import s3net


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "weights"


def weights(*arguments, folder):
    return s3net("weights", *arguments, S3NET_WEIGHTS=str(folder))


def test_the_list_names_what_exists_and_where_it_would_be(folder):
    done = weights("list", folder=folder)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 12 and str(folder) in lines[-1]
    assert any(line.startswith("dinov2-vits14-reg4") and "88 MB" in line and "(default)" in line for line in lines)
    facts = json.loads(weights("list", "--json", folder=folder).stdout)
    assert len(facts["weights"]) == 11 and all(entry["stored"] is None for entry in facts["weights"])
    assert not folder.exists()  # looking makes nothing


def test_a_stored_file_is_listed_as_not_published_and_cleared(folder):
    folder.mkdir()
    (folder / "dinov2_vits14_pretrain.pth").write_bytes(b"something else")
    assert "here (the right tensors, but" in weights("list", folder=folder).stdout
    done = weights("clear", "dinov2_vits14", "--json", folder=folder)
    assert json.loads(done.stdout)["bytes_freed"] > 14 and not list(folder.iterdir())


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("add", "nowhere.pth"), "no file or folder 'nowhere.pth'"),
        (("get", "resnet"), "choose one of dinov2-vits14"),
        (("get", "dinov3-vits16"), "accept its licence"),
        (("get", "dinov2-vits14", "--url", "http://example.org/w.pth"), "https only"),
        (("clear", "resnet"), "choose one of"),
        ((), "ACTION"),
    ],
    ids=str,
)
def test_bad_input_is_told_with_exit_code_2(folder, arguments, told):
    done = weights(*arguments, folder=folder)
    assert done.returncode == 2 and told in done.stderr.splitlines()[-1] and "Traceback" not in done.stderr
