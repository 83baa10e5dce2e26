"""Run an image: on this computer, in QEMU, or in simavr. Bytes go in, bytes come out."""

import os
import re
from pathlib import Path

from ..errors import ToolError
from ..target import Target
from .build import Image
from .elf import read_elf
from .tools import call, find_tool, said, shell_line

RUN_TIMEOUT = 600.0
"""Seconds after which a run is given up."""

_STATUS = {
    2: "the processor took an exception: a bad access, or the stack outgrew its region",
    3: "it asked for more input than there is",
    4: "it could not open input.bin or output.bin",
    5: "it met a command it does not know",
    6: "the stack outgrew its region",
}
"""What the harness's exit statuses mean; harness/io.h names them."""

_INSTRUCTION_NS_LOG2 = {"qemu-arm": 10, "qemu-riscv": 0}
"""The -icount shift: an instruction moves virtual time on by 2**shift ns. Ten makes one
instruction many ticks of SysTick; RISC-V counts instructions itself."""


def run_image(
    image: Image, data: bytes, folder: Path, *, timeout: float = RUN_TIMEOUT, counted: bool = False
) -> bytes:
    """Run the image in `folder` with `data` as its input.bin and return its output.bin.

    counted: with QEMU's virtual time bound to executed instructions, which is slower.
    Raises ToolError where the runner is missing, ends badly, or exceeds `timeout` seconds.
    """
    run = image.target.run
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "input.bin").write_bytes(data)
    if run.runner == "simavr":
        return _run_simavr(image, data, folder, timeout)
    command = run_command(image, folder, counted=counted)
    what = f"running {image.elf.name} for {image.target.name}"
    result = call(command, folder, timeout=timeout, what=what)
    if result.returncode != 0:
        reason = _STATUS.get(result.returncode, f"exit status {result.returncode}")
        if result.returncode < 0:
            reason = f"signal {-result.returncode}"
        raise ToolError(
            f"{what} failed: {reason}\n{said(result)}\n"
            f"  command, in {folder}: {shell_line(command)}"
        )
    return (folder / "output.bin").read_bytes()


def run_command(image: Image, folder: Path, *, counted: bool = False) -> list[str]:
    """Return the command that runs the image in `folder`; paths in it count from there."""
    run = image.target.run
    elf = os.path.relpath(image.elf, folder)
    if run.runner == "native":
        return [os.path.join(".", elf)]  # noqa: PTH118  # a path without a "." is no program
    program = find_tool(run.program, run.packages, f"running target {image.target.name}")
    if run.runner == "simavr":
        # The copy with the input filled in.
        return [program, "-m", run.machine, "-f", str(run.clock_hz), image.elf.name]
    command = [program, "-M", run.machine]
    if run.cpu:
        command += ["-cpu", run.cpu]
    if run.runner == "qemu-riscv":
        command += ["-bios", "none"]
    command += ["-display", "none", "-serial", "none", "-monitor", "none"]
    command += ["-semihosting-config", "enable=on,target=native"]
    if counted:
        command += ["-icount", f"shift={_INSTRUCTION_NS_LOG2[run.runner]},sleep=off"]
    return [*command, "-kernel", elf]


def instructions_per_tick(target: Target) -> float:
    """Return how many instructions one tick of the image's counter stands for."""
    if target.run.runner == "qemu-arm":
        return 1e9 / (target.run.clock_hz * 2.0 ** _INSTRUCTION_NS_LOG2["qemu-arm"])
    return 1.0


def _run_simavr(image: Image, data: bytes, folder: Path, timeout: float) -> bytes:
    """Fill the input into the image's array, run it, and read what it sent."""
    fill_input(image, data, folder)
    command = run_command(image, folder)
    what = f"running {image.elf.name} for {image.target.name}"
    result = call(command, folder, timeout=timeout, what=what)
    # A line of text, between the escape sequences of its colour, ends in a point that
    # stands for the line feed.
    lines = re.findall(rb"(?:\x1b\[[0-9;]*m)?(=?[0-9a-f]+)\.", result.stdout + result.stderr)
    status = int(lines[-1][1:], 16) if lines and lines[-1].startswith(b"=") else -1
    if result.returncode != 0 or status != 0:
        reason = _STATUS.get(status, "it ended without a status")
        raise ToolError(
            f"{what} failed: {reason}\n{said(result)}\n"
            f"  command, in {folder}: {shell_line(command)}"
        )
    output = bytes.fromhex(b"".join(lines[:-1]).decode())
    (folder / "output.bin").write_bytes(output)
    return output


def fill_input(image: Image, data: bytes, folder: Path) -> Path:
    """Write a copy of an image that carries its input along, with `data` in it; return that."""
    elf = read_elf(image.elf)
    room = elf.symbols["harness_input"]
    if len(data) > room.size:
        raise ToolError(
            f"{len(data)} bytes of input for {image.target.name}; "
            f"expected at most the {room.size} that were set aside for it"
        )
    content = bytearray(image.elf.read_bytes())
    start = elf.offset_of(room)
    content[start : start + len(data)] = data
    filled = folder / image.elf.name
    filled.write_bytes(content)
    return filled
