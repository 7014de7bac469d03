"""Downloading published weights, only when the user asks for it: resumable, cancelable, checked before it is used.

With the standard library: requests trusts its own list of certificates only, so that it refuses what a hospital's proxy signs
(unless told by a variable of its own), and pooch cannot go on from a part.
"""

from __future__ import annotations

import errno
import urllib.error
import urllib.request
from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ...common.errors import InputError, ResourceError
from ...common.progress import Step, Steps, as_part_of
from ...images.files import rename_over
from .checkpoint import recognise_file
from .store import StoredWeights, WeightsFile, WeightsStore, file_digest, partial_path, weights_named

_CHUNK = 256 << 10
_TIMEOUT = 30.0  # seconds without a byte after which the connection counts as lost
_AGENT = "S3NetSegment (weights)"


def download_weights(
    name: str, store: WeightsStore | None = None, *, url: str | None = None, allow_plain_http: bool = False
) -> Steps[StoredWeights]:
    """Downloads the published weights ``name`` into ``store`` (default: the user's own).

    A generator: drop it to cancel. What was received stays and the next call goes on from there, if the server can. The
    file gets its name only after size, SHA-256 and all tensors have been checked.

    :param url: another address of the same file, e.g. a mirror of the hospital; it must be https.
    :param allow_plain_http: for tests with a server on this machine only.
    :raises InputError: unknown name, weights that their publisher gives out on request only, an address that is not https, or a file that is not the published one.
    :raises ResourceError: no network, lost connection, full disk; what has been received is kept.
    """
    entry = weights_named(name)
    store = store or WeightsStore()
    if not entry.is_free:
        raise InputError(
            f"{entry.name} is given out by its publisher to those who accept its licence: ask for it at {entry.url}, then add the "
            "file with 's3net weights add FILE'"
        )
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
        yield from as_part_of(_receive(entry, url, partial, allow_plain_http), 0.0, 0.95)
        digest = yield from as_part_of(file_digest(partial), 0.95, 0.99)
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
    yield Step(0.0, f"Connecting to {urlsplit(url).hostname}")
    with closing(_answer(url, start, allow_plain_http)) as answer:
        done, total = next(answer)
        total = total or entry.about_bytes
        with open(partial, "r+b" if done else "wb") as file:
            file.truncate(done)
            file.seek(done)
            for chunk in answer:
                file.write(chunk)
                done += len(chunk)
                shown = f"Received {done / 1e6:,.1f} of {total / 1e6:,.0f} MB of {entry.name}"
                yield Step(min(1.0, done / max(total, 1)), shown)


def _answer(url: str, start: int, allow_plain_http: bool) -> Generator[Any, None, None]:
    """First (position of the first byte, size of the whole file or None), then the bytes in order, as they come."""
    received = start
    try:
        response = _opened(url, start, allow_plain_http)
        if response is None:  # the part on the disk is the whole file; its digest will tell
            yield start, start
            return
        with response:
            received = start if response.status == 206 else 0
            total = _total_size(response, received)
            yield received, total
            while chunk := response.read1(_CHUNK):
                received += len(chunk)
                yield chunk
        if total is not None and received < total:
            raise EOFError("the server ended the connection early")
    except (InputError, ResourceError):
        raise
    except Exception as error:
        raise _network_error(error, url, received) from error


def _opened(url: str, start: int, allow_plain_http: bool):
    """The answer of the server from byte ``start`` on; None if the file ends there."""
    headers = {"User-Agent": _AGENT, "Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    opener = urllib.request.build_opener(_CheckedRedirects(allow_plain_http))
    try:
        return opener.open(urllib.request.Request(url, headers=headers), timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code != 416 or not start:
            raise
        if (error.headers.get("Content-Range") or "").removeprefix("bytes */") == str(start):
            return None
    return _opened(url, 0, allow_plain_http)  # the part on the disk is longer than the file: from the beginning


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
