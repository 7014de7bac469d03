"""``s3net weights``: the encoder weights on this computer; the only command that ever downloads anything of that kind."""

from __future__ import annotations

import argparse
import json

from .arguments import finish, new_command
from .terminal import ProgressDisplay, report

DESCRIPTION = """\
Published encoder weights (DINOv2, Apache License 2.0; DINOv3, a licence of its own) for few-shot segmentation. They are not part of
s3net and are never downloaded by themselves: 'get' downloads one file over https, checks it and keeps it for this user. DINOv3's
files are given out by their publisher on request; 'add' takes them up."""
EXAMPLES = """\
examples:
  s3net weights list                       what exists, and what is here
  s3net weights get dinov2-vits14-reg4     download (Ctrl-C stops; the same command goes on from there)
  s3net weights add dinov2_vitb14_pretrain.pth
  s3net weights add model.safetensors      the same model as the Hugging Face hub has it
  s3net weights clear                      remove everything that get and add have put here

S3NET_WEIGHTS names another folder; HTTPS_PROXY a proxy."""


def register(commands) -> None:
    parser = new_command(commands, "weights", "list, download, add or remove encoder weights", DESCRIPTION, EXAMPLES)
    actions = parser.add_subparsers(title="actions", metavar="ACTION", dest="action", required=True)
    _add(actions, "list", _list, "what exists, and what is here")
    get = _add(actions, "get", _get, "download one of them")
    get.add_argument("name", metavar="NAME", help="its name in the list, e.g. dinov2-vits14-reg4")
    get.add_argument("--url", metavar="URL", help="another https address of the same file, e.g. a mirror")
    add = _add(actions, "add", _add_file, "copy a file that is on this computer already")
    add.add_argument(
        "file",
        metavar="FILE",
        help="a published file, dinov2_vit..._pretrain.pth or dinov3_vit..._pretrain....pth, or model.safetensors from the Hugging Face hub",
    )
    clear = _add(actions, "clear", _clear, "remove weights, and downloads that were stopped")
    clear.add_argument("name", metavar="NAME", nargs="?", help="only these; without a name all")


def _add(actions, name: str, run, text: str) -> argparse.ArgumentParser:
    parser = actions.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
    finish(parser, run)
    return parser


def _list(arguments: argparse.Namespace) -> int:
    from ..engine.nets.weights import CATALOGUE, DEFAULT_WEIGHTS, WeightsStore

    store = WeightsStore()
    here = {stored.name: stored for stored in store.stored()}
    if arguments.json:
        entries = [
            {"name": e.name, "file": e.file_name, "url": e.url, "bytes": e.about_bytes, "sha256": e.sha256}
            | {"stored": _facts(here[e.name]) if e.name in here else None}
            for e in CATALOGUE.values()
        ]
        facts = {"folder": str(store.folder), "weights": entries, "stopped": [str(p) for p in store.partials()]}
        print(json.dumps(facts, indent=2))
        return 0
    for entry in CATALOGUE.values():
        state = "-"
        if entry.name in here:
            remark = here[entry.name].remark
            state = f"here ({remark})" if remark else "here"
        elif not entry.is_free:
            state = "-  (its publisher asks for a licence: get the file there, then add it)"
        mark = "  (default)" if entry.name == DEFAULT_WEIGHTS else ""
        print(f"{entry.name:<20} {entry.about_bytes / 1e6:>6,.0f} MB   {state}{mark}")
    for partial in store.partials():
        print(f"stopped download: {partial.name} ({partial.stat().st_size / 1e6:,.0f} MB)")
    print(f"folder: {store.folder}")
    return 0


def _get(arguments: argparse.Namespace) -> int:
    from ..engine.nets.weights.download import download_weights

    return _put(arguments, download_weights(arguments.name, url=arguments.url))


def _add_file(arguments: argparse.Namespace) -> int:
    from ..engine.nets.weights import WeightsStore

    return _put(arguments, WeightsStore().add(arguments.file))


def _put(arguments: argparse.Namespace, steps) -> int:
    from ..engine import run_to_end

    with ProgressDisplay(arguments.quiet) as display:
        stored = run_to_end(steps, display)
    note = f" ({stored.remark})" if stored.remark else ""
    return report(arguments, _facts(stored), lambda: print(f"{stored.name} is here{note}: {stored.path}"))


def _clear(arguments: argparse.Namespace) -> int:
    from ..engine.nets.weights import WeightsStore

    store = WeightsStore()
    freed = store.clear(arguments.name)
    facts = {"folder": str(store.folder), "bytes_freed": freed}
    return report(arguments, facts, lambda: print(f"{freed / 1e6:,.0f} MB removed from {store.folder}"))


def _facts(stored) -> dict:
    return {
        "name": stored.name, "path": str(stored.path), "bytes": stored.size, "sha256": stored.sha256,
        "published": stored.is_published, "source": stored.source,
    }  # fmt: skip
