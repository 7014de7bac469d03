"""Weights that are downloaded, from a server on this machine."""

import hashlib
import shutil
import subprocess
import threading

import pytest
from tiny_weights import TINY, names_in
from weights_server import WeightsServer

from S3NetSegmentLib.engine import InputError, ResourceError, run_to_end
from S3NetSegmentLib.engine.nets.weights import (
    CATALOGUE,
    WeightsFile,
    store,
)
from S3NetSegmentLib.engine.nets.weights.download import download_weights

CERTIFICATE = (
    "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1".split()
)

pytestmark = pytest.mark.usefixtures("tiny")


def download(server, folder, name=TINY, on_step=None):
    return run_to_end(download_weights(name, folder, url=server.url, allow_plain_http=True), on_step)


def test_a_download_is_stored_under_its_name_after_its_digest_was_checked(folder, published, tiny):
    steps = []
    with WeightsServer(published) as server:
        stored = download(server, folder, on_step=steps.append)
        assert download(server, folder) == stored and len(server.asked) == 1  # it is there: nothing is asked again
    assert stored.is_published and stored.path.read_bytes() == published and stored.source == server.url
    assert names_in(folder) == [tiny.file_name, f"{tiny.file_name}.json"]
    fractions = [step.fraction for step in steps]
    assert fractions == sorted(fractions) and "Received" in " ".join(step.message for step in steps)


def test_a_broken_connection_is_told_and_the_next_call_goes_on_from_there(folder, published):
    with WeightsServer(published, stop_after=30_000) as server:
        with pytest.raises(ResourceError, match=r"connection to 127.0.0.1 failed.*goes on from there"):
            download(server, folder)
        assert names_in(folder) == [f"{CATALOGUE[TINY].file_name}.part"]
        assert folder.find(TINY) is None
        assert download(server, folder).path.read_bytes() == published
    assert server.asked == [None, "bytes=30000-"]


def test_a_server_that_sends_no_parts_is_read_from_the_beginning(folder, published):
    with WeightsServer(published, stop_after=30_000, ranges=False) as server:
        with pytest.raises(ResourceError):
            download(server, folder)
        assert download(server, folder).path.read_bytes() == published
    assert server.asked == [None, "bytes=30000-"]


@pytest.mark.parametrize("size_is_known", [True, False])
def test_a_part_that_is_complete_is_only_checked(folder, published, tiny, monkeypatch, size_is_known):
    if not size_is_known:
        monkeypatch.setitem(CATALOGUE, TINY, WeightsFile(TINY, 17_000, tiny.sha256))
    folder.folder.mkdir()
    store.partial_path(folder.path_of(tiny)).write_bytes(published)
    with WeightsServer(published) as server:
        assert download(server, folder).path.read_bytes() == published
    assert server.asked == ([] if size_is_known else [f"bytes={len(published)}-"])


@pytest.mark.parametrize("size_is_known", [True, False])
def test_a_part_that_is_longer_than_the_file_is_thrown_away(folder, published, tiny, monkeypatch, size_is_known):
    if not size_is_known:
        monkeypatch.setitem(CATALOGUE, TINY, WeightsFile(TINY, 17_000, tiny.sha256))
    folder.folder.mkdir()
    store.partial_path(folder.path_of(tiny)).write_bytes(published + b"more")
    with WeightsServer(published) as server:
        assert download(server, folder).path.read_bytes() == published


def test_a_file_with_another_digest_is_deleted_and_told(folder, published):
    changed = bytearray(published)
    changed[len(changed) // 2] ^= 1
    with (
        WeightsServer(bytes(changed)) as server,
        pytest.raises(InputError, match=r"SHA-256.*It was deleted.*weights add"),
    ):
        download(server, folder)
    assert not names_in(folder)


def test_a_spoiled_part_is_found_by_the_digest_and_the_next_download_is_whole(folder, published, tiny):
    folder.folder.mkdir()
    store.partial_path(folder.path_of(tiny)).write_bytes(b"x" * 1000)
    with WeightsServer(published) as server:
        with pytest.raises(InputError, match="deleted"):
            download(server, folder)
        assert download(server, folder).is_published


def test_a_file_of_another_model_with_the_right_digest_is_refused(folder, tiny, monkeypatch):
    other = b"PK not weights"
    monkeypatch.setitem(CATALOGUE, TINY, WeightsFile(TINY, 17_000, hashlib.sha256(other).hexdigest(), len(other)))
    with WeightsServer(other) as server, pytest.raises(InputError, match="no file of weights"):
        download(server, folder)
    assert folder.find(TINY) is None


def test_a_dropped_download_keeps_its_part_and_can_go_on(folder, published):
    pause = threading.Event()
    with WeightsServer(published, pause=pause) as server:
        steps = download_weights(TINY, folder, url=server.url, allow_plain_http=True)
        while next(steps).fraction < 0.95 * 0.5 * 0.99:
            pass
        steps.close()
        pause.set()
        part = store.partial_path(folder.path_of(CATALOGUE[TINY]))
        assert 0 < part.stat().st_size < len(published)
        assert download(server, folder).path.read_bytes() == published
    assert server.asked[1].startswith("bytes=")


def test_a_server_that_falls_silent_is_given_up_and_what_came_is_kept(folder, published, monkeypatch):
    monkeypatch.setattr("S3NetSegmentLib.engine.nets.weights.download._TIMEOUT", 0.3)
    pause = threading.Event()
    with WeightsServer(published, pause=pause) as server:
        with pytest.raises(ResourceError, match=r"failed \(timed out\) after 0\.\d MB; what was received is kept"):
            download(server, folder)
        pause.set()
        assert store.partial_path(folder.path_of(CATALOGUE[TINY])).stat().st_size == len(published) // 2
        assert download(server, folder).path.read_bytes() == published
    assert server.asked[1] == f"bytes={len(published) // 2}-"


def test_an_answer_that_is_no_file_is_told(folder, published):
    with WeightsServer(published, status=404) as server, pytest.raises(ResourceError, match="answered 404"):
        download(server, folder)
    with pytest.raises(ResourceError, match=r"connection to 127\.0\.0\.1 failed"):
        download(server, folder)  # the server is gone by now
    assert not names_in(folder)


@pytest.mark.parametrize("url", ["http://example.org/w.pth", "ftp://example.org/w.pth", "file:///etc/passwd", "w.pth"])
def test_only_https_is_asked(folder, url):
    with pytest.raises(InputError, match="https only"):
        next(download_weights(TINY, folder, url=url))
    with pytest.raises(InputError, match="https only"):
        next(download_weights(TINY, folder, url=url, allow_plain_http=True))  # only for a server on this machine
    assert not folder.folder.exists()


def test_plain_http_on_this_machine_is_only_for_tests_that_say_so(folder, published):
    with WeightsServer(published) as server, pytest.raises(InputError, match="https only"):
        run_to_end(download_weights(TINY, folder, url=server.url))
    assert server.asked == []


def test_a_redirect_to_plain_http_is_not_followed(folder, published):
    with WeightsServer(published, redirect="http://example.org/w.pth") as server:
        with pytest.raises(InputError, match=r"https only.*example.org"):
            download(server, folder)


def test_a_redirect_within_the_host_that_was_asked_is_followed(folder, published):
    with WeightsServer(published) as there, WeightsServer(b"", redirect=there.url) as server:
        assert download(server, folder).is_published


def test_a_redirect_to_another_host_is_not_followed_and_told(folder, published):
    with WeightsServer(published) as there:
        for elsewhere in (there.url.replace("127.0.0.1", "localhost"), "https://example.org/w.pth"):
            with WeightsServer(b"", redirect=elsewhere) as server:
                with pytest.raises(InputError, match=r"127\.0\.0\.1 sends on to another host.*--url"):
                    download(server, folder)
        assert there.asked == [] and not names_in(folder)


def test_a_server_or_proxy_is_trusted_if_the_system_trusts_who_signed_for_it(folder, published, tmp_path, monkeypatch):
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    signed = tmp_path / "signed.pem"
    made = subprocess.run(
        [*CERTIFICATE, "-keyout", signed, "-out", tmp_path / "its.pem"], capture_output=True, check=False
    )
    assert made.returncode == 0, made.stderr
    signed.write_bytes(signed.read_bytes() + (tmp_path / "its.pem").read_bytes())
    with WeightsServer(published, certificate=signed) as server:
        with pytest.raises(ResourceError, match="certificate verify failed"):
            run_to_end(download_weights(TINY, folder, url=server.url))
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "its.pem"))  # where OpenSSL looks for what the system trusts
        assert run_to_end(download_weights(TINY, folder, url=server.url)).is_published
