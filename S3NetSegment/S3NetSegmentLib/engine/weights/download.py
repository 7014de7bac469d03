"""Downloading published weights, only when the user asks for it: resumable, cancelable, checked before it is used."""

from __future__ import annotations

import errno
import queue
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

from ..errors import InputError, ResourceError
from ..images.files import rename_over
from ..progress import Step, Steps, within
from .catalogue import WeightsFile, weights_named
from .checkpoint import recognise_file
from .store import StoredWeights, WeightsStore, file_digest, partial_path

_CHUNK = 256 << 10
_TIMEOUT = 30.0  # seconds without a byte after which the connection counts as lost
_PATIENCE = 0.1  # seconds between two steps while the network is silent
_AGENT = "S3NetSegment (weights)"


def download_weights(
    name: str, store: WeightsStore | None = None, *, url: str | None = None, allow_plain_http: bool = False
) -> Steps[StoredWeights]:
    """Downloads the published weights ``name`` into ``store`` (default: the user's own).

    A generator: drop it to cancel. What was received stays and the next call goes on from there, if the server can. The
    file gets its name only after size, SHA-256 and all tensors have been checked.

    :param url: another address of the same file, e.g. a mirror of the hospital; it must be https.
    :param allow_plain_http: for tests with a server on this machine only.
    :raises InputError: unknown name, an address that is not https, or a file that is not the published one.
    :raises ResourceError: no network, lost connection, full disk; what has been received is kept.
    """
    entry = weights_named(name)
    store = store or WeightsStore()
    url = url or entry.url
    _check_address(url, allow_plain_http)
    there = store.find(entry.name)
    if there is not None and there.is_published:
        return there
    target = store.path_of(entry)
    partial = partial_path(target)
    if not partial.exists():
        store.check_space(entry.about_bytes, entry.file_name)
    try:
        partial.parent.mkdir(parents=True, exist_ok=True)
        yield from within(_receive(entry, url, partial, allow_plain_http), 0.0, 0.95)
        digest = yield from within(file_digest(partial), 0.95, 0.99)
        _check_received(entry, url, partial, digest)
        yield Step(0.99, "Checking the weights")
        _check_model(entry, partial)
        rename_over(partial, target)
    except OSError as error:
        raise _disk_error(error, partial) from error
    return store.settle(StoredWeights(entry.name, target, target.stat().st_size, digest, url))


def _receive(entry: WeightsFile, url: str, partial: Path, allow_plain_http: bool) -> Steps[None]:
    """Fills ``partial`` up to the whole file."""
    start = partial.stat().st_size if partial.exists() else 0
    if entry.size and start == entry.size:
        return  # only the check was missing
    if entry.size and start > entry.size:
        start = 0
    with closing(_Connection(url, start, allow_plain_http)) as connection:
        yield Step(0.0, f"Connecting to {urlsplit(url).hostname}")
        for answer in connection.answers():
            if answer is None:
                yield Step(0.0, f"Waiting for {urlsplit(url).hostname}")
            else:
                break
        start, total = answer
        total = total or entry.about_bytes
        with open(partial, "r+b" if start else "wb") as file:
            file.truncate(start)
            file.seek(start)
            done, shown = start, f"of {total / 1e6:,.0f} MB of {entry.name}"
            for chunk in connection.answers():
                if chunk is not None:
                    file.write(chunk)
                    done += len(chunk)
                yield Step(min(1.0, done / max(total, 1)), f"Received {done / 1e6:,.1f} {shown}")


class _Connection:
    """A thread that reads from the network, since reading cannot be done in small steps: a silent server would halt the
    window. It touches nothing but its socket and the queue."""

    def __init__(self, url: str, start: int, allow_plain_http: bool):
        self._url = url
        self._start = start
        self._allow_plain_http = allow_plain_http
        self._queue: queue.Queue = queue.Queue(maxsize=16)
        self._closed = threading.Event()
        threading.Thread(target=self._read, daemon=True, name="weights download").start()

    def close(self) -> None:
        self._closed.set()

    def answers(self) -> Iterator:
        """First (position of the first byte, size of the whole file or None), then the bytes in order, and None whenever
        nothing has come for a moment. Ends at the end of the file; raises what went wrong."""
        while True:
            try:
                kind, content = self._queue.get(timeout=_PATIENCE)
            except queue.Empty:
                yield None
                continue
            if kind == "error":
                raise content
            if kind == "end":
                return
            yield content

    def _put(self, kind: str, content=None) -> bool:
        while not self._closed.is_set():
            try:
                self._queue.put((kind, content), timeout=_PATIENCE)
                return True
            except queue.Full:
                continue
        return False

    def _read(self) -> None:
        received = self._start
        try:
            response = self._open()
            if response is None:  # the part on the disk is the whole file; its digest will tell
                self._put("data", (received, received))
                self._put("end")
                return
            with response:
                received = self._start if response.status == 206 else 0
                total = _total_size(response, received)
                if not self._put("data", (received, total)):
                    return
                while chunk := response.read1(_CHUNK):
                    received += len(chunk)
                    if not self._put("data", chunk):
                        return
            if total is not None and received < total:
                raise EOFError("the server ended the connection early")
            self._put("end")
        except (InputError, ResourceError) as error:
            self._put("error", error)
        except Exception as error:
            self._put("error", _network_error(error, self._url, received))

    def _open(self):
        headers = {"User-Agent": _AGENT, "Accept-Encoding": "identity"}
        if self._start:
            headers["Range"] = f"bytes={self._start}-"
        opener = urllib.request.build_opener(_CheckedRedirects(self._allow_plain_http))
        try:
            return opener.open(urllib.request.Request(self._url, headers=headers), timeout=_TIMEOUT)
        except urllib.error.HTTPError as error:
            if error.code != 416 or not self._start:
                raise
            if (error.headers.get("Content-Range") or "").removeprefix("bytes */") == str(self._start):
                return None
        self._start = 0  # the part on the disk is longer than the file: from the beginning
        return self._open()


class _CheckedRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects within the host that was asked, and over https only."""

    def __init__(self, allow_plain_http: bool):
        self._allow_plain_http = allow_plain_http

    def redirect_request(self, request, file, code, message, headers, new_url):
        _check_address(new_url, self._allow_plain_http)
        asked, sent = urlsplit(request.full_url).hostname, urlsplit(new_url).hostname
        if sent != asked:
            raise InputError(
                f"{asked} sends on to another host, {sent}, which is not asked by itself; if you trust that address, name it: "
                f"--url {new_url}"
            )
        return super().redirect_request(request, file, code, message, headers, new_url)


def _check_address(url: str, allow_plain_http: bool) -> None:
    parts = urlsplit(url)
    if parts.scheme == "https" and parts.hostname:
        return
    if allow_plain_http and parts.scheme == "http" and parts.hostname in ("127.0.0.1", "localhost", "::1"):
        return
    raise InputError(f"weights are downloaded over https only; the address is {url!r}")


def _total_size(response, start: int) -> int | None:
    """Size of the whole file as the server states it."""
    if response.status == 206:
        first, _, total = (response.headers.get("Content-Range") or "").removeprefix("bytes ").partition("/")
        if not first.startswith(f"{start}-"):
            raise ResourceError(
                f"the server sent another part of the file than was asked for ({first or 'unstated'}); remove the stopped "
                "download with 's3net weights clear' and try again"
            )
        return int(total) if total.isdigit() else None
    length = response.headers.get("Content-Length")
    return int(length) if length and length.isdigit() else None


def _check_received(entry: WeightsFile, url: str, partial: Path, digest: str) -> None:
    if digest == entry.sha256:
        return
    size = partial.stat().st_size
    partial.unlink()
    wanted = f"{entry.size:,} bytes, " if entry.size else ""
    raise InputError(
        f"what {urlsplit(url).hostname} sent is not the published {entry.file_name}: {size:,} bytes with SHA-256 "
        f"{digest[:16]}..., expected {wanted}{entry.sha256[:16]}.... It was deleted. Try again; if it happens again, "
        f"something on the way changes downloads: get {entry.url} by other means and use 's3net weights add FILE'"
    )


def _check_model(entry: WeightsFile, partial: Path) -> None:
    found = recognise_file(partial)
    if found != entry.name:
        partial.unlink()
        raise InputError(f"the file holds {found} and not {entry.name}; it was deleted. Check the address")


def _network_error(error: Exception, url: str, received: int) -> ResourceError:
    host = urlsplit(url).hostname
    if isinstance(error, urllib.error.HTTPError):
        return ResourceError(
            f"{host} answered {error.code} ({error.reason}) for {url}; try again later, or get the file by other means and "
            "use 's3net weights add FILE'"
        )
    reason = getattr(error, "reason", None) or error
    kept = f" after {received / 1e6:,.1f} MB; what was received is kept, and the same command goes on from there"
    return ResourceError(
        f"the connection to {host} failed ({reason or type(error).__name__}){kept if received else ''}. Check the network "
        "and its proxy (environment variable HTTPS_PROXY) and try again"
    )


def _disk_error(error: OSError, partial: Path) -> Exception:
    if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)):
        return ResourceError(
            f"the disk of {str(partial.parent)!r} is full; free some space and try again, it goes on from where it stopped, "
            "or set S3NET_WEIGHTS to a folder on another disk"
        )
    return ResourceError(
        f"{str(partial.parent)!r} cannot be written ({error.strerror or error}); set S3NET_WEIGHTS to a folder that can"
    )
