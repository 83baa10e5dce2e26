"""Target descriptions: which compiler, which flags, which emulator. Facts from TOML files.

A target is a file `targets/<name>.toml` of the project, or any file of the same form that the
user names by its path. `extends` takes everything from another target and lets the file
override single keys, so a new board of a known core is a few lines and no Python.
"""

import difflib
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, get_args

from .errors import TargetError
from .paths import data_dir

Runner = Literal["native", "qemu-arm", "qemu-riscv", "simavr", "none"]
RUNNERS: tuple[str, ...] = get_args(Runner)

REGIONS = ("flash", "ram")
"""The memory regions that the project's linker script places things in."""

_NAME = "a name of letters, digits, '.', '_' and '-'"
_STRING = "a string"
_STRINGS = "a list of strings"
_NUMBER = "a positive integer"
_ADDRESS = "an address"
_TABLE = "a table"

_KEYS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "": {
            "extends": _STRING,
            "name": _NAME,
            "description": _STRING,
            "core": _STRING,
            "isa": _NAME,
            "compile": _TABLE,
            "run": _TABLE,
        },
        "compile": {
            "cc": _STRING,
            "standard": _STRING,
            "flags": _STRINGS,
            "link_flags": _STRINGS,
            "packages": _STRINGS,
            "linker_script": _STRING,
            "memory": _TABLE,
        },
        "compile.memory": dict.fromkeys(REGIONS, _TABLE),
        "compile.memory.flash": {"origin": _ADDRESS, "length": _NUMBER},
        "compile.memory.ram": {"origin": _ADDRESS, "length": _NUMBER},
        "run": {
            "runner": _STRING,
            "program": _STRING,
            "machine": _STRING,
            "cpu": _STRING,
            "clock_hz": _NUMBER,
            "input_bytes": _NUMBER,
            "packages": _STRINGS,
        },
    }
)
"""Every key of a target file, by table, with the kind of its value."""

_NEEDS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "native": (),
        "none": (),
        "qemu-arm": ("program", "machine", "clock_hz"),
        "qemu-riscv": ("program", "machine"),
        "simavr": ("program", "machine", "clock_hz", "input_bytes"),
    }
)
"""The keys of [run] that a runner cannot do without."""


@dataclass(frozen=True)
class Region:
    """A range of memory: `length` bytes from `origin`."""

    origin: int
    length: int


@dataclass(frozen=True)
class Compile:
    """How C becomes an image.

    cc: the compiler's program; standard: its -std=; packages: what to install on Debian.
    memory: the regions the linker script places the image in, by name.
    """

    cc: str
    standard: str
    flags: tuple[str, ...]
    link_flags: tuple[str, ...]
    packages: tuple[str, ...]
    linker_script: Path | None
    memory: Mapping[str, Region]


@dataclass(frozen=True)
class Run:
    """How an image is run; runner `none` where it cannot be.

    machine: QEMU's board, or simavr's microcontroller; clock_hz: what its timer counts.
    input_bytes: how much input an image takes along where it cannot read files.
    """

    runner: Runner
    program: str
    machine: str
    cpu: str
    clock_hz: int
    input_bytes: int | None
    packages: tuple[str, ...]


@dataclass(frozen=True)
class Target:
    """One target; `isa` picks the kernels, the rest how they are compiled and run."""

    name: str
    description: str
    core: str
    isa: str
    compile: Compile
    run: Run

    @property
    def runs(self) -> bool:
        """Whether an image of this target can be executed here."""
        return self.run.runner != "none"


def is_name(text: str) -> bool:
    """Return whether `text` can name a target or its kernels: it becomes part of file names."""
    return re.fullmatch(r"[A-Za-z0-9._-]+", text) is not None


def list_targets() -> tuple[str, ...]:
    """Return the names of the targets that the project brings along, sorted."""
    return tuple(sorted(path.stem for path in data_dir("targets").glob("*.toml")))


def load_target(name: str | Path) -> Target:
    """Return the target of that name, or the one that the file of that path describes.

    A path is what ends in `.toml` or holds a separator. Raises TargetError with every
    problem of the file, a line each.
    """
    path = _find(str(name), None)
    table = _merged(path, ())
    problems = list(_table_problems(table, "", path))
    if not problems:
        problems = list(_missing(table, path)) + list(_script_problems(table, path))
    if problems:
        raise TargetError.of(problems)
    return _target(table, path)


def _find(name: str, beside: Path | None) -> Path:
    """Return the file for a name or path; a relative path counts from `beside`'s folder."""
    if name.endswith(".toml") or "/" in name or "\\" in name:
        path = Path(name) if beside is None else beside.parent / name
        if not path.is_file():
            where = f"{beside}: extends" if beside else "target"
            raise TargetError(f"{where} {str(path)!r}: no such file; give the path of a TOML file")
        return path
    known = list_targets()
    if name in known:
        return data_dir("targets") / f"{name}.toml"
    near = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    where = f"{beside}: extends: " if beside else ""
    raise TargetError(
        f"{where}target {name!r} is unknown; {hint}known are {', '.join(known)}, "
        "or give the path of a TOML file"
    )


def _merged(path: Path, above: tuple[Path, ...]) -> dict[str, Any]:
    """Return the file's table laid over those it extends."""
    chain = (*above, path.resolve())
    if path.resolve() in above:
        names = " -> ".join(step.stem for step in chain)
        raise TargetError(f"{path}: extends goes in a circle: {names}; remove one of them")
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise TargetError(f"{path}: no valid TOML: {error}") from None
    except OSError as error:
        raise TargetError(f"{path}: cannot be read: {error.strerror}") from None
    base = table.get("extends")
    if not isinstance(base, str):
        return _with_script_path(table, path)
    below = _merged(_find(base, path), chain)
    below.pop("name", None)
    return _overlay(below, _with_script_path(table, path))


def _with_script_path(table: dict[str, Any], path: Path) -> dict[str, Any]:
    """Turn the linker script's name into a path: beside the file first, then the project's."""
    compile_table = table.get("compile")
    if isinstance(compile_table, dict) and isinstance(compile_table.get("linker_script"), str):
        name = compile_table["linker_script"]
        own = path.parent / name
        ours = data_dir("templates") / "harness" / name
        compile_table["linker_script"] = str(own if own.is_file() else ours)
    return table


def _overlay(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Return `below` with the keys of `above` put in; tables merge, all else is replaced."""
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        both = isinstance(old, dict) and isinstance(value, dict)
        merged[key] = _overlay(old, value) if both and old is not None else value
    return merged


def _table_problems(table: Mapping[str, Any], at: str, path: Path) -> Iterator[str]:
    known = _KEYS[at]
    for key, value in table.items():
        full = f"{at}.{key}" if at else key
        if key not in known:
            place = f"[{at}]" if at else "the top level"
            yield f"{path}: unknown key {full!r}; {place} knows {', '.join(known)}"
        elif not _fits(value, known[key]):
            yield f"{path}: {full} is {value!r}; expected {known[key]}"
        elif known[key] == _TABLE:
            yield from _table_problems(value, full, path)
    if at == "run":
        runner = table.get("runner")
        if isinstance(runner, str) and runner not in RUNNERS:
            yield f"{path}: run.runner is {runner!r}; expected one of {', '.join(RUNNERS)}"


def _fits(value: object, kind: str) -> bool:
    if kind == _STRING:
        return isinstance(value, str) and bool(value)
    if kind == _NAME:
        return isinstance(value, str) and is_name(value)
    if kind == _STRINGS:
        return isinstance(value, list) and all(isinstance(item, str) for item in value)
    if kind == _TABLE:
        return isinstance(value, dict)
    least = 0 if kind == _ADDRESS else 1
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _missing(table: Mapping[str, Any], path: Path) -> Iterator[str]:
    """Yield a line for each key that the whole description lacks."""
    if "name" not in table and not is_name(path.stem):
        yield f"{path}: name is missing, and the file's cannot stand in; add it, {_NAME}"
    compile_table, run = table.get("compile", {}), table.get("run", {})
    needed: list[tuple[Mapping[str, Any], str, Iterable[str]]] = [
        (table, "", ("description", "core", "isa")),
        (compile_table, "compile.", ("cc",)),
        (run, "run.", ("runner", *_NEEDS.get(run.get("runner", ""), ()))),
    ]
    if "linker_script" in compile_table:
        memory = compile_table.get("memory", {})
        needed += [
            (memory.get(name, {}), f"compile.memory.{name}.", ("origin", "length"))
            for name in REGIONS
        ]
    for part, prefix, keys in needed:
        for key in keys:
            if key not in part:
                yield f"{path}: {prefix}{key} is missing; add it, or extend a target that has it"


def _script_problems(table: Mapping[str, Any], path: Path) -> Iterator[str]:
    script = table.get("compile", {}).get("linker_script")
    if script is not None and not Path(script).is_file():
        yield (
            f"{path}: compile.linker_script: {Path(script).name} is neither beside this file "
            f"nor in {data_dir('templates') / 'harness'}"
        )


def _target(table: Mapping[str, Any], path: Path) -> Target:
    """Return the target of a complete table."""
    how, run = table["compile"], table["run"]
    memory = {name: Region(**region) for name, region in how.get("memory", {}).items()}
    script = how.get("linker_script")
    return Target(
        name=table.get("name", path.stem),
        description=table["description"],
        core=table["core"],
        isa=table["isa"],
        compile=Compile(
            cc=how["cc"],
            standard=how.get("standard", "c99"),
            flags=tuple(how.get("flags", ())),
            link_flags=tuple(how.get("link_flags", ())),
            packages=tuple(how.get("packages", ())),
            linker_script=None if script is None else Path(script),
            memory=MappingProxyType(memory),
        ),
        run=Run(
            runner=run["runner"],
            program=run.get("program", ""),
            machine=run.get("machine", ""),
            cpu=run.get("cpu", ""),
            clock_hz=run.get("clock_hz", 0),
            input_bytes=run.get("input_bytes"),
            packages=tuple(run.get("packages", ())),
        ),
    )
