"""House rules of safety, read from the source: no file is opened in a way that could run code, and one module alone speaks to
the network."""

import ast
from pathlib import Path

import pytest

SHIPPED = Path(__file__).resolve().parents[2] / "S3NetSegment"
SOURCES = [*sorted(SHIPPED.rglob("*.py")), SHIPPED / "s3net"]
_LOADERS = {"pickle", "cPickle", "marshal", "shelve", "dill", "joblib", "cloudpickle", "yaml", "runpy"}
_NETWORK = {
    "socket",
    "socketserver",
    "http",
    "ftplib",
    "smtplib",
    "xmlrpc",
    "asyncio",
    "httpx",
    "aiohttp",
}
_DOWNLOAD = ["engine/nets/weights/download.py"]
_ALONE = {
    **dict.fromkeys(("requests", "urllib3", "ssl", "urllib.request"), _DOWNLOAD), "distributed": ["engine/batch/cluster.py"],
}  # fmt: skip


def offences(text: str, place: str = "") -> list[str]:
    """What in the source ``text`` breaks the rules, with its line."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            whole = [f"{node.module}.{a.name}" for a in node.names] if isinstance(node, ast.ImportFrom) else names
            found += [f"{node.lineno}: imports {n}" for n in names if n.split(".")[0] in _LOADERS | _NETWORK]
            for module, allowed in _ALONE.items():
                if any(n == module or n.startswith(f"{module}.") for n in {*names, *whole}) and not node_is_allowed(
                    place, allowed
                ):
                    found.append(f"{node.lineno}: imports {module}")
        elif isinstance(node, ast.Call):
            name, options = ast.unparse(node.func), {k.arg: k.value for k in node.keywords}
            if name in ("eval", "exec", "compile", "__import__", "input") or name.startswith(
                ("os.system", "os.popen", "os.spawn")
            ):
                found.append(f"{node.lineno}: calls {name}")
            if (
                name in ("torch.load", "load")
                and name.startswith("torch")
                and not is_constant(options.get("weights_only"), True)
            ):
                found.append(f"{node.lineno}: torch.load without weights_only=True")
            if name in ("np.load", "numpy.load") and not is_constant(options.get("allow_pickle"), False):
                found.append(f"{node.lineno}: np.load without allow_pickle=False")
            if "allow_pickle" in options and not is_constant(options["allow_pickle"], False):
                found.append(f"{node.lineno}: allow_pickle")
            if "shell" in options and not is_constant(options["shell"], False):
                found.append(f"{node.lineno}: a shell")
            if name.startswith(("torch.hub", "torch.package", "torch.jit.load")) or name.endswith((".bind", ".listen")):
                found.append(f"{node.lineno}: calls {name}")
    return found


def node_is_allowed(place: str, allowed: list[str]) -> bool:
    return any(place.endswith(name) for name in allowed)


def is_constant(node, value) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


def test_no_shipped_file_can_run_what_it_loads_and_one_alone_speaks_to_the_network():
    assert len(SOURCES) > 150
    found = {p.relative_to(SHIPPED).as_posix(): offences(p.read_text(encoding="utf-8"), p.as_posix()) for p in SOURCES}
    assert {name: wrong for name, wrong in found.items() if wrong} == {}


@pytest.mark.parametrize(
    "text",
    [
        "import pickle", "from pickle import loads", "import yaml", "import socket", "from http import server", "eval('1')",
        "exec(text)", "os.system('x')", "subprocess.run('x', shell=True)", "subprocess.run('x', shell=flag)", "torch.load(p)",
        "torch.load(p, weights_only=False)", "torch.load(p, weights_only=flag)", "np.load(p)", "np.load(p, allow_pickle=True)",
        "import urllib.request", "from urllib import request", "import requests", "from ssl import wrap", "import distributed", "torch.hub.load('a', 'b')", "s.bind(a)",
    ],
)  # fmt: skip
def test_the_rules_see_what_they_forbid(text):
    assert offences(text)


def test_the_rules_let_pass_what_is_safe():
    text = "torch.load(p, weights_only=True)\nnp.load(p, allow_pickle=False)\nfrom urllib.parse import quote\nmodel.eval()\n"
    assert offences(text) == []


def test_the_catalogue_names_https_addresses_of_one_host_only():
    from S3NetSegmentLib.engine.nets.weights import CATALOGUE

    free = [entry for entry in CATALOGUE.values() if entry.is_free]  # the others are never downloaded
    assert {entry.url.split("/")[2] for entry in free} == {"dl.fbaipublicfiles.com"}
    assert all(entry.url.startswith("https://") and len(entry.sha256) == 64 for entry in free)
