"""How the tests are shared out among several processes."""

import re
import shutil
import subprocess
import sys

from forked import LOADED, forked, run_code
from paths import REPOSITORY

CONFTEST = REPOSITORY / "Testing" / "conftest.py"


def listed(name):
    """The files in a list of the conftest."""
    return re.findall(
        r'"([\w/]+\.py)"', re.search(rf"^{name} = \((.*?)\)", CONFTEST.read_text(encoding="utf-8"), re.S | re.M)[1]
    )


def test_the_files_that_take_long_exist():
    files = {*listed("LONGEST"), *listed("ALONE")}
    assert len(files) > 10
    assert [name for name in files if not (CONFTEST.parent / name).is_file()] == []


def test_what_takes_long_begins_first_and_its_tests_go_to_whichever_process_is_free(tmp_path):
    shutil.copy(CONFTEST, tmp_path)
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --import-mode=importlib\n")
    long = [listed("ALONE")[0], next(name for name in listed("LONGEST") if name not in listed("ALONE"))]
    order = [*long, "aa/test_short.py"]
    for name in order:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("".join(f"def test_{n}():\n    pass\n" for n in range(4)))
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-v", "-n", "2", "--dist", "loadfile"]
    done = subprocess.run(
        [*command, "--no-loadscope-reorder"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    ran = re.findall(r"\[(gw\d)\] .*?PASSED (\S+)::", done.stdout)
    assert len(ran) == 12
    processes = [{process for process, file in ran if file == name} for name in order]
    assert [len(some) for some in processes] == [2, 1, 1], "alone, and a file in one process each"
    for process in ("gw0", "gw1"):
        places = [order.index(file) for one, file in ran if one == process]
        assert places == sorted(places)


def test_forked_processes_begin_with_all_that_they_shall_have_loaded():
    done = forked(run_code, f"import sys\nprint([name for name in {LOADED} if name not in sys.modules])", variables={})
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr
