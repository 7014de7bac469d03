"""Warnings of many images become few sentences."""

from S3NetSegmentLib.engine.images.image_warnings import grouped_warnings


def test_what_several_files_have_in_common_is_said_once_with_their_number():
    tilted = [f"'/data/case{n}': its slices are tilted" for n in range(5)]
    assert grouped_warnings([*tilted, "'/data/x.nii': it has two matrices", tilted[0], "no file"]) == [
        "5 files (case0, case1, case2, ...): its slices are tilted", "x.nii: it has two matrices", "no file",
    ]  # fmt: skip
    assert grouped_warnings([]) == []


def test_very_many_different_warnings_are_counted_and_not_listed():
    told = grouped_warnings([f"'a{n}': {n} slices are missing" for n in range(50)])
    assert len(told) == 11 and told[0] == "a0: 0 slices are missing" and told[-1].startswith("40 further warnings")
