"""The external programs: found or missing, their versions, and how they are called."""

import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from ..errors import ToolError
from ..target import Target

_SHOWN_LINES = 40


class NotKnownError(ToolError):
    """Something that a measurement can do without is not to be had; the text says why."""


def find_tool(program: str, packages: Sequence[str], what_for: str) -> str:
    """Return the path of `program`; raises ToolError with the packages that bring it."""
    found = shutil.which(program)
    if found is None:
        raise ToolError(
            f"{program} is not installed; {what_for} needs it. "
            f"On Debian and Ubuntu: apt-get install {' '.join(packages)}"
        )
    return found


def tool_beside(target: Target, program: str) -> str:
    """Return the path of a program that comes with the target's compiler.

    Raises NotKnownError if it is not installed.
    """
    how = target.compile
    cc = find_tool(how.cc, how.packages, f"target {target.name}")
    command = [cc, f"-print-prog-name={program}"]
    result = call(command, Path.cwd(), timeout=60, what=f"asking {how.cc} for {program}")
    found = shutil.which(result.stdout.decode(errors="replace").strip())
    if found is None:
        raise NotKnownError(f"{program}, which belongs to {how.cc}, is not installed")
    return found


def tools_of(target: Target) -> dict[str, tuple[str, ...]]:
    """Return the programs that build and run for the target, with the packages they are in."""
    tools = {target.compile.cc: target.compile.packages}
    if target.run.program:
        tools[target.run.program] = target.run.packages
    return tools


def missing_tools(target: Target) -> dict[str, tuple[str, ...]]:
    """Return those of the target's programs that are not installed, with their packages."""
    return {
        program: packages
        for program, packages in tools_of(target).items()
        if shutil.which(program) is None
    }


def tool_versions(target: Target) -> dict[str, str]:
    """Return what each installed program of the target says its version is, in one line."""
    present = {name for name in tools_of(target) if shutil.which(name)}
    if target.run.runner == "native" and shutil.which("valgrind"):
        present.add("valgrind")
    return {program: version(program) for program in sorted(present)}


def version(program: str) -> str:
    """Return what the program says its version is, in one line."""
    result = subprocess.run(
        [program, "--version"],
        capture_output=True,
        text=True,
        errors="replace",
        stdin=subprocess.DEVNULL,
        check=False,
        timeout=60,
    )
    if result.returncode == 0 and result.stdout.strip():
        return result.stdout.strip().splitlines()[0]
    return f"{program} (it does not tell its version)"


def shell_line(command: Sequence[str]) -> str:
    """Return the command as one would type it."""
    return shlex.join(command)


def call(
    command: Sequence[str], folder: Path, *, timeout: float, what: str
) -> subprocess.CompletedProcess[bytes]:
    """Run a command in a folder, without input, and return what came of it, success or not.

    what: who does what, for the messages. Raises ToolError when the program cannot be
    started or takes longer than `timeout` seconds.
    """
    try:
        return subprocess.run(
            command,
            cwd=folder,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            check=False,
            timeout=timeout,
        )
    except subprocess.TimeoutExpired:
        raise ToolError(
            f"{what} took longer than {timeout:g} s and was stopped; "
            f"use fewer steps or allow more time. The command: {shell_line(command)}"
        ) from None
    except OSError as error:
        raise ToolError(f"{what}: {command[0]} cannot be started: {error.strerror}") from None


def said(result: subprocess.CompletedProcess[bytes]) -> str:
    """Return the last lines of what a program printed, indented, for an error message."""
    text = (result.stderr + result.stdout).decode(errors="replace").strip()
    lines = text.splitlines()[-_SHOWN_LINES:]
    return "\n".join(f"  {line}" for line in lines) or "  (it printed nothing)"
