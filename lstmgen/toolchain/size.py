"""What a model takes of a device: code, tables and weights in flash, state in RAM.

The model is linked by itself, without its self-test, with the functions of libgcc that it
calls and without all it does not use: as in a firmware.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..target import Target
from .build import (
    Sources,
    compile_all,
    copy_harness,
    layout_flags,
    link,
    model_flags,
    object_of,
    prefix_of,
    step_function,
    write_model,
)
from .elf import read_elf

TABLES = ("sigmoid", "tanh", "exp2")
"""The activation tables, by the end of their names."""

ENTRY_POINTS = ("reset", "step", "run")
"""The functions that a firmware calls."""


@dataclass(frozen=True)
class Footprint:
    """Bytes in flash (code, tables, weights) and in RAM (state of one instance).

    Code includes the helper functions of the compiler's library that the model calls.
    """

    code_bytes: int
    table_bytes: int
    weights_bytes: int
    state_bytes: int


def footprint(
    files: Sources,
    target: Target,
    folder: Path,
    *,
    optimize: str = "-O2",
    flags: Sequence[str] = (),
) -> Footprint:
    """Compile the model in `folder` for the target and weigh it; nothing is run.

    Raises ToolError where the compiler is missing or fails.
    """
    prefix = prefix_of(files)
    harness = copy_harness(target, folder)
    commands: list[str] = []
    used = {name: text for name, text in files.items() if name != f"{prefix}_selftest.c"}
    options = (*model_flags(target, optimize), *flags)
    objects = compile_all(write_model(used, folder), target, folder, options, commands)
    # gcc may call memcpy and its like, which count where there is no C library to have them.
    parts = [harness / "memory.c", harness / "state_size.c"]
    memory, probe = compile_all(parts, target, folder, options, commands)
    elf = folder / "size.elf"
    roots = [f"-Wl,-u,{prefix}_{name}" for name in ENTRY_POINTS]
    layout = layout_flags(target)
    if target.compile.linker_script is None:
        layout = ("-nostdlib", "-static", *layout, "-lgcc")
    alone = ("-nostartfiles", f"-Wl,-e,{step_function(files)}", *roots, *layout, *flags)
    link([*objects, memory], elf, target, folder, alone, commands)

    linked = read_elf(elf)
    data = read_elf(object_of(folder / "model" / f"{prefix}_weights.c", folder)).symbols
    sizes = {name: linked.symbols[name].size for name in data if name in linked.symbols}
    tables = sum(sizes.get(f"{prefix}_{name}", 0) for name in TABLES)
    weights = sum(sizes.values()) - tables
    return Footprint(
        code_bytes=linked.flash_bytes - tables - weights,
        table_bytes=tables,
        weights_bytes=weights,
        state_bytes=read_elf(probe).symbols["harness_state_size"].size,
    )
