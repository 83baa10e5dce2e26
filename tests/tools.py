"""What tests that need external programs share."""

import os
import shutil

import pytest

from lstmgen.target import Target, list_targets, load_target
from lstmgen.toolchain import missing_tools

RUNNABLE = tuple(name for name in list_targets() if load_target(name).runs)
"""The targets on which code can be executed."""


def need(missing: str) -> None:
    """Skip the test for want of a program, in sight; in CI that is a failure."""
    if os.environ.get("CI"):
        pytest.fail(f"{missing}; CI must have it: see tools/install-tools.sh")
    pytest.skip(f"{missing}; tools/install-tools.sh installs it")


def need_program(program: str) -> None:
    if shutil.which(program) is None:
        need(f"{program} is not installed")


def usable(name: str) -> Target:
    """Return the target of that name, if its programs are installed."""
    target = load_target(name)
    for program in missing_tools(target):
        need(f"{program} is not installed")
    return target
