"""Compile a generated model with the test harness into an image for a target.

Everything is copied into one working folder and all commands run there with relative
paths, so that the folder can be kept, moved and built again by its `commands.sh`.
"""

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePath
from types import MappingProxyType
from typing import Literal

from ..errors import ToolError
from ..paths import data_dir
from ..target import Target
from .tools import call, find_tool, said, shell_line

Sources = Mapping[str, str]
"""A generated model: file names and texts, with `model_port.h` among them."""

Program = Literal["verify", "bench", "sweep"]

BUILD_TIMEOUT = 600.0
"""Seconds after which a compiler is given up."""

_BARE = ("start.c", "memory.c", "io_semihost.c")

_HARNESS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "native": ("io_host.c",),
        "qemu-arm": (*_BARE, "start_cortex_m.c"),
        "qemu-riscv": (*_BARE, "start_riscv.S"),
        "simavr": ("io_avr.c",),
    }
)
"""What each runner's images consist of, beside the program's main: nothing that knows the model."""

_MEASURE: Mapping[str, str] = MappingProxyType(
    {
        "native": "measure_host.c",
        "qemu-arm": "measure_cortex_m.c",
        "qemu-riscv": "measure_riscv.c",
        "simavr": "measure_avr.c",
    }
)

_HARNESS_FLAGS = ("-std=gnu99", "-O2", "-Wall", "-Wextra")
"""The harness is always built alike, so that only the model differs between levels."""

_SECTIONS = ("-ffunction-sections", "-fdata-sections")


@dataclass(frozen=True)
class Image:
    """A program that runs on the target; `commands` are those that made it, as typed."""

    target: Target
    folder: Path
    elf: Path
    commands: tuple[str, ...]


def build_image(
    files: Sources,
    program: Program,
    target: Target,
    folder: Path,
    *,
    optimize: str = "-O2",
    flags: Sequence[str] = (),
    defines: Mapping[str, int] = MappingProxyType({}),
) -> Image:
    """Compile the model and the harness's `program` in `folder` and link them.

    optimize: the model's -O option; flags: more options, for the model and the linker
    (sanitizers); defines: macros for the harness. Raises ToolError where the target cannot
    run programs, where the compiler is missing, and with its text where it fails.
    """
    if not target.runs:
        raise ToolError(f"target {target.name} has no runner: its code is compiled, not run")
    runner = target.run.runner
    names = [f"{program}.c"]
    if program == "bench":
        names.append(_MEASURE[runner])
    model = write_model(files, folder)
    harness = copy_harness(target, folder)
    macros = [f"-D{name}={value}" for name, value in defines.items()]
    options = (*_HARNESS_FLAGS, *_SECTIONS, *macros, *flags)
    commands: list[str] = []
    objects = [
        *compile_all(model, target, folder, (*model_flags(target, optimize), *flags), commands),
        *compile_all([harness / name for name in names], target, folder, options, commands),
        *_compile_fixed(
            [harness / name for name in _HARNESS[runner]], target, folder, options, commands
        ),
    ]
    elf = folder / f"{program}.elf"
    link(objects, elf, target, folder, (*layout_flags(target), *flags), commands)
    write_commands(folder, commands)
    return Image(target, folder, elf, tuple(commands))


def prefix_of(files: Sources) -> str:
    """Return the C prefix of a generated model: `<p>` of its `<p>.h` and `<p>_weights.c`."""
    suffix = "_weights.c"
    found = [name.removesuffix(suffix) for name in files if name.endswith(suffix)]
    found = [prefix for prefix in found if f"{prefix}.h" in files]
    if len(found) != 1:
        raise ToolError(
            f"{len(found)} generated models among {', '.join(sorted(files)) or 'no files'}; "
            "expected one <name>.h with its <name>_weights.c"
        )
    return found[0]


def step_function(files: Sources) -> str:
    """Return the function that takes a step, or a whole sequence where the C has no other."""
    prefix = prefix_of(files)
    return f"{prefix}_step" if f"void {prefix}_step(" in files[f"{prefix}.h"] else f"{prefix}_run"



def model_flags(target: Target, optimize: str) -> tuple[str, ...]:
    """Return the options with which the model itself is compiled."""
    return (f"-std={target.compile.standard}", optimize, *_SECTIONS)


def layout_flags(target: Target) -> tuple[str, ...]:
    """Return the linker's options: the linker script with its regions, and libgcc alone."""
    how = target.compile
    if how.linker_script is None:
        near = ("harness/near_avr.ld",) if target.run.runner == "simavr" else ()
        return (*how.link_flags, *near)
    regions = [
        f"-Wl,--defsym=__{name}{part}={value:#x}"
        for name, region in how.memory.items()
        for part, value in (("", region.origin), ("_size", region.length))
    ]
    script = f"harness/{how.linker_script.name}"
    return ("-nostdlib", f"-T{script}", *regions, *how.link_flags, "-lgcc")


def write_model(files: Sources, folder: Path) -> list[Path]:
    """Write the model's files into `folder`/model and return those to compile, sorted."""
    model = folder / "model"
    model.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        if PurePath(name).suffix in (".c", ".h", ".S"):
            (model / name).write_text(text, encoding="utf-8")
    return sorted(model / name for name in files if PurePath(name).suffix in (".c", ".S"))


def copy_harness(target: Target, folder: Path) -> Path:
    """Copy the harness, with the target's linker script, to `folder`/harness; return that."""
    harness = folder / "harness"
    harness.mkdir(parents=True, exist_ok=True)
    paths = [
        path
        for path in (data_dir("templates") / "harness").iterdir()
        if path.suffix in (".c", ".h", ".S", ".ld")
    ]
    if target.compile.linker_script is not None:
        paths.append(target.compile.linker_script)
    for path in paths:
        shutil.copyfile(path, harness / path.name)
    return harness


def compile_all(
    sources: Sequence[Path],
    target: Target,
    folder: Path,
    flags: Sequence[str],
    commands: list[str],
) -> list[Path]:
    """Compile each source to an object, found by `object_of`; append the commands as typed."""
    objects = []
    for source in sources:
        command = _compile_command(source, target, folder, ("-Imodel", "-Iharness"), flags)
        path = object_of(source, folder)
        path.parent.mkdir(parents=True, exist_ok=True)
        commands.append(shell_line(command))
        _compile(_compiler(target), command, target.name, folder, source.relative_to(folder))
        objects.append(path)
    return objects


def _compile_fixed(
    sources: Sequence[Path],
    target: Target,
    folder: Path,
    flags: Sequence[str],
    commands: list[str],
) -> list[Path]:
    """Do as `compile_all` for the harness's files that do not know the model: once a process.

    Their debug information would name the folder in which they are compiled; they have none.
    """
    headers = tuple(sorted((folder / "harness").glob("*.h")))
    fixed = [flag for flag in flags if not flag.startswith("-g")]
    objects = []
    for source in sources:
        command = _compile_command(source, target, folder, ("-Iharness",), fixed)
        path = object_of(source, folder)
        path.parent.mkdir(parents=True, exist_ok=True)
        commands.append(shell_line(command))
        files = tuple((file.name, file.read_bytes()) for file in (source, *headers))
        path.write_bytes(_fixed_object(_compiler(target), tuple(command), target.name, files))
        objects.append(path)
    return objects


@lru_cache(maxsize=256)
def _fixed_object(
    cc: str, command: tuple[str, ...], target: str, files: tuple[tuple[str, bytes], ...]
) -> bytes:
    """Return the object that the command makes of the first of the harness's `files`."""
    with tempfile.TemporaryDirectory(prefix="lstmgen-build-") as name:
        folder = Path(name)
        (folder / "harness").mkdir()
        for file, content in files:
            (folder / "harness" / file).write_bytes(content)
        source = folder / "harness" / files[0][0]
        path = object_of(source, folder)
        path.parent.mkdir(parents=True)
        _compile(cc, command, target, folder, source.relative_to(folder))
        return path.read_bytes()


def _compile_command(
    source: Path, target: Target, folder: Path, include: Sequence[str], flags: Sequence[str]
) -> list[str]:
    """Return the command, with paths from the folder, that makes a source's object."""
    kept = [flag for flag in flags if source.suffix != ".S" or not flag.startswith("-std=")]
    command = [target.compile.cc, *target.compile.flags, *kept, *include]
    command += ["-c", str(source.relative_to(folder))]
    return [*command, "-o", str(object_of(source, folder).relative_to(folder))]


def _compiler(target: Target) -> str:
    """Return the path of the target's compiler; raises ToolError where it is missing."""
    how = target.compile
    return find_tool(how.cc, how.packages, f"target {target.name}")


def _compile(cc: str, command: Sequence[str], target: str, folder: Path, source: Path) -> None:
    """Run the compiler `cc` as the command says, in the folder; raises ToolError if it fails."""
    what = f"compiling {source} for {target}"
    result = call([cc, *command[1:]], folder, timeout=BUILD_TIMEOUT, what=what)
    if result.returncode != 0:
        raise ToolError(f"{command[0]} failed at {what}:\n{said(result)}")


def object_of(source: Path, folder: Path) -> Path:
    """Return the object that a source of `folder` is compiled to."""
    relative = source.relative_to(folder)
    return folder / "build" / relative.parent / f"{relative.name}.o"


def link(
    objects: Sequence[Path],
    elf: Path,
    target: Target,
    folder: Path,
    flags: Sequence[str],
    commands: list[str],
) -> None:
    """Link the objects to `elf`, without the sections that nothing refers to."""
    how = target.compile
    command = [how.cc, *how.flags, *(str(path.relative_to(folder)) for path in objects)]
    command += ["-Wl,--gc-sections", *flags, "-o", str(elf.relative_to(folder))]
    commands.append(shell_line(command))
    cc, what = _compiler(target), f"linking {elf.name}"
    result = call([cc, *command[1:]], folder, timeout=BUILD_TIMEOUT, what=what)
    if result.returncode != 0:
        raise ToolError(f"{how.cc} failed at linking for {target.name}:\n{said(result)}")


def write_commands(folder: Path, commands: Sequence[str]) -> None:
    """Write the commands as a shell script that repeats them in the folder."""
    script = folder / "commands.sh"
    lines = ["#!/bin/sh", "# Repeats what was done here.", "set -ex", 'cd "$(dirname "$0")"']
    script.write_text("\n".join([*lines, *commands]) + "\n", encoding="utf-8")
    script.chmod(0o755)
