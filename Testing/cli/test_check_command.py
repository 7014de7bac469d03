"""``s3net check``: the report and its exit code."""

import json

from command_line import s3net


def test_the_report_names_versions_and_each_method():
    done = s3net("check", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    assert "Segment" in done.stdout and "Few-shot" in done.stdout and "FAILS" not in done.stdout
    lines = json.loads(s3net("check", "--device", "cpu", "--json").stdout)
    assert {"name", "text", "works"} == set(lines[0])
