"""Downloading published weights, only when the user asks for it: resumable, cancelable, checked before it is used."""

from __future__ import annotations

import errno
import ssl
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError, IncompleteRead

from ...common.errors import InputError, ResourceError
from ...common.progress import Step, Steps, as_part_of
from ...images.files import rename_over
from .checkpoint import recognise_file
from .store import StoredWeights, WeightsFile, WeightsStore, file_digest, partial_path, weights_named

_CHUNK = 256 << 10
_TIMEOUT = 30.0  # seconds without a byte after which the connection counts as lost
_MOST_REDIRECTS = 10


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
        if (found := recognise_file(partial)) != entry.name:
            partial.unlink()
            raise InputError(f"the file holds {found} and not {entry.name}; it was deleted. Check the address")
        rename_over(partial, target)
    except OSError as error:
        raise _disk_error(error, partial) from error
    return store.settle(StoredWeights(entry.name, target, target.stat().st_size, digest, url))


def _receive(entry: WeightsFile, url: str, partial: Path, allow_plain_http: bool) -> Steps[None]:
    """Fills ``partial`` up to the whole file."""
    done = partial.stat().st_size if partial.exists() else 0
    if entry.size and done == entry.size:
        return  # only the check was missing
    if entry.size and done > entry.size:
        done = 0
    yield Step(0.0, f"Connecting to {urlsplit(url).hostname}")
    try:
        with requests.Session() as session, _asked(session, url, done, allow_plain_http) as answer:
            if answer.status_code == 416 and done:
                return  # the part on the disk is the whole file; its digest will tell
            answer.raise_for_status()
            done = done if answer.status_code == 206 else 0
            if done and not answer.headers.get("Content-Range", "").startswith(f"bytes {done}-"):
                raise ResourceError(
                    f"the server sent another part of the file than was asked for ({answer.headers.get('Content-Range')}); "
                    "remove the stopped download with 's3net weights clear' and try again"
                )
            total = done + (answer.raw.length_remaining or entry.about_bytes)
            with open(partial, "ab" if done else "wb") as file:
                while chunk := answer.raw.read1(_CHUNK):
                    file.write(chunk)
                    done += len(chunk)
                    shown = f"Received {done / 1e6:,.1f} of {total / 1e6:,.0f} MB of {entry.name}"
                    yield Step(min(1.0, done / max(total, 1)), shown)
    except (requests.RequestException, HTTPError) as error:
        raise _network_error(error, url, done) from error


def _asked(session: requests.Session, url: str, start: int, allow_plain_http: bool) -> requests.Response:
    """The answer of the server from byte ``start`` on (416: the file ends there), or from its beginning if the file is shorter.
    Redirects are followed within the host that was asked, over https only."""
    session.mount("https://", _SystemCertificates())
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    for _ in range(_MOST_REDIRECTS):
        answer = session.get(url, headers=headers, stream=True, timeout=_TIMEOUT, allow_redirects=False)
        if answer.status_code == 416 and start and answer.headers.get("Content-Range") != f"bytes */{start}":
            return _asked(session, url, 0, allow_plain_http)
        if not answer.is_redirect:
            return answer
        url, asked = urljoin(url, answer.headers["Location"]), urlsplit(url).hostname
        _check_address(url, allow_plain_http)
        if (sent := urlsplit(url).hostname) != asked:
            raise InputError(
                f"{asked} sends on to another host, {sent}, which is not asked by itself; if you trust that address, name it: "
                f"--url {url}"
            )
    raise requests.TooManyRedirects(f"more than {_MOST_REDIRECTS} redirects")


class _SystemCertificates(HTTPAdapter):
    """Trusts what the system trusts, too: a hospital's proxy signs by a certificate that requests does not know."""

    def init_poolmanager(self, *args, **options):
        super().init_poolmanager(*args, ssl_context=ssl.create_default_context(), **options)

    def proxy_manager_for(self, proxy, **options):
        return super().proxy_manager_for(proxy, ssl_context=ssl.create_default_context(), **options)


def _check_address(url: str, allow_plain_http: bool) -> None:
    parts = urlsplit(url)
    if parts.scheme == "https" and parts.hostname:
        return
    if allow_plain_http and parts.scheme == "http" and parts.hostname in ("127.0.0.1", "localhost", "::1"):
        return
    raise InputError(f"weights are downloaded over https only; the address is {url!r}")


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


def _network_error(error: Exception, url: str, received: int) -> ResourceError:
    host = urlsplit(url).hostname
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return ResourceError(
            f"{host} answered {error.response.status_code} ({error.response.reason}) for {url}; try again later, or get the file "
            "by other means and use 's3net weights add FILE'"
        )
    reason: BaseException = error
    while reason.__context__ is not None:  # requests and urllib3 wrap what the system said
        reason = reason.__context__
    said = "the server ended the connection early" if isinstance(reason, IncompleteRead) else str(reason)
    kept = f" after {received / 1e6:,.1f} MB; what was received is kept, and the same command goes on from there"
    return ResourceError(
        f"the connection to {host} failed ({said or type(reason).__name__}){kept if received else ''}. Check the network "
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
