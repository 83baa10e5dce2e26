"""Target descriptions: those of the project, a user's own, and what is wrong with one."""

import json
import re
from pathlib import Path

import pytest

from lstmgen.errors import TargetError
from lstmgen.target import Region, list_targets, load_target

from conftest import ROOT

BOARD = """
name = "my-board"
description = "a board of ours"
extends = "cortex-m4"
[compile.memory.ram]
length = 0x8000
"""


def write(folder: Path, text: str, name: str = "my-board.toml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def error_of(path: Path) -> str:
    with pytest.raises(TargetError) as caught:
        load_target(path)
    return str(caught.value)


def test_every_target_of_the_project_loads() -> None:
    names = list_targets()
    assert {"host", "arm", "riscv32", "riscv64", "avr", "arc", "cortex-m0"} <= set(names)
    for name in names:
        target = load_target(name)
        assert target.name == name
        assert target.description
        assert target.compile.packages


def test_arm_is_the_cortex_m4_by_another_name() -> None:
    arm, m4 = load_target("arm"), load_target("cortex-m4")
    assert (arm.compile, arm.run, arm.isa, arm.core) == (m4.compile, m4.run, m4.isa, m4.core)


def test_only_arc_is_not_run_and_says_so() -> None:
    unrun = [name for name in list_targets() if not load_target(name).runs]
    assert unrun == ["arc"]
    assert "not run" in load_target("arc").description


def test_a_board_overrides_single_keys(tmp_path: Path) -> None:
    board, m4 = load_target(write(tmp_path, BOARD)), load_target("cortex-m4")
    assert board.name == "my-board"
    assert board.compile.memory["ram"] == Region(0x20000000, 0x8000)
    assert board.compile.memory["flash"] == m4.compile.memory["flash"]
    assert board.compile.flags == m4.compile.flags
    assert board.run == m4.run


def test_a_board_is_named_after_its_file_without_a_name(tmp_path: Path) -> None:
    path = write(tmp_path, 'extends = "arm"', "desk.toml")
    assert load_target(str(path)).name == "desk"


def test_a_board_extends_a_file_beside_it(tmp_path: Path) -> None:
    write(tmp_path, BOARD)
    variant = write(tmp_path, 'extends = "my-board.toml"\n[run]\nclock_hz = 1', "variant.toml")
    assert load_target(variant).compile.memory["ram"].length == 0x8000
    assert load_target(variant).run.clock_hz == 1


def test_a_board_brings_its_own_linker_script(tmp_path: Path) -> None:
    (tmp_path / "mine.ld").write_text("", encoding="utf-8")
    text = BOARD.replace("[compile", '[compile]\nlinker_script = "mine.ld"\n[compile', 1)
    assert load_target(write(tmp_path, text)).compile.linker_script == tmp_path / "mine.ld"


def test_unknown_target_lists_the_known_and_the_nearest() -> None:
    with pytest.raises(TargetError, match=r"'cortex-m5' is unknown; did you mean 'cortex-m55'\?"):
        load_target("cortex-m5")
    with pytest.raises(TargetError, match=r"'z80' is unknown; known are arc, arm, avr, cortex-m0"):
        load_target("z80")


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match=r"no\.toml': no such file"):
        load_target(tmp_path / "no.toml")
    path = write(tmp_path, 'extends = "./none.toml"')
    assert re.search(r"my-board\.toml: extends '.*none\.toml': no such file", error_of(path))
    path = write(tmp_path, 'extends = "cortex"')
    assert re.search(r"extends: target 'cortex' is unknown; did you mean", error_of(path))


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    text = """
extends = "cortex-m4"
colour = "green"
core = 7
[compile]
optimise = "-O2"
flags = "-mthumb"
[compile.memory.rom]
origin = 0
[compile.memory.ram]
length = 0
[run]
runner = "qemu"
"""
    problems = error_of(write(tmp_path, text)).splitlines()
    expected = [
        r"unknown key 'colour'; the top level knows extends, name, description, core, isa,",
        r"core is 7; expected a string",
        r"unknown key 'compile.optimise'; \[compile\] knows cc, standard, flags,",
        r"compile.flags is '-mthumb'; expected a list of strings",
        r"unknown key 'compile.memory.rom'; \[compile.memory\] knows flash, ram",
        r"compile.memory.ram.length is 0; expected a positive integer",
        r"run.runner is 'qemu'; expected one of native, qemu-arm, qemu-riscv, simavr, none",
    ]
    assert len(problems) == len(expected)
    for pattern in expected:
        assert any(re.search(f"my-board.toml: {pattern}", line) for line in problems), pattern


@pytest.mark.parametrize("name", ["../LICENSE", "my board", "", "a/b", 3])
def test_names_are_no_paths(tmp_path: Path, name: object) -> None:
    for key in ("name", "isa"):
        text = f'extends = "cortex-m4"\n{key} = {json.dumps(name)}'
        message = rf"my-board.toml: {key} is .*; expected a name of letters, digits, '.', '_' and"
        assert re.search(message, error_of(write(tmp_path, text)))
    path = write(tmp_path, 'extends = "cortex-m4"', "my board.toml")
    assert "name is missing, and the file's cannot stand in; add it, a name" in error_of(path)


def test_missing_keys_are_told_at_once(tmp_path: Path) -> None:
    text = 'core = "x"\n[compile]\nlinker_script = "bare.ld"\n[run]\nrunner = "qemu-arm"'
    found = re.findall(r": ([\w.]+) is missing; add it, or extend", error_of(write(tmp_path, text)))
    assert found == [
        "description",
        "isa",
        "compile.cc",
        "run.program",
        "run.machine",
        "run.clock_hz",
        "compile.memory.flash.origin",
        "compile.memory.flash.length",
        "compile.memory.ram.origin",
        "compile.memory.ram.length",
    ]


def test_a_linker_script_that_is_nowhere_is_told(tmp_path: Path) -> None:
    text = 'extends = "arm"\n[compile]\nlinker_script = "no.ld"'
    assert "compile.linker_script: no.ld is neither beside" in error_of(write(tmp_path, text))


def test_bad_toml_is_told(tmp_path: Path) -> None:
    assert re.search(
        r"my-board\.toml: no valid TOML: .*line 1", error_of(write(tmp_path, "x = = 1"))
    )
    path = tmp_path / "binary.toml"
    path.write_bytes(b"\xff\xfe")
    assert "no valid TOML" in error_of(path)
    assert "extends is 3; expected a string" in error_of(write(tmp_path, "extends = 3"))


def test_a_circle_of_extends_is_told(tmp_path: Path) -> None:
    path = write(tmp_path, 'extends = "./b.toml"', "a.toml")
    write(tmp_path, 'extends = "./a.toml"', "b.toml")
    assert "extends goes in a circle: a -> b -> a; remove one" in error_of(path)


def test_the_example_of_the_documentation_is_valid(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "targets.md").read_text(encoding="utf-8")
    file = tmp_path / "gateway.toml"
    file.write_text(text.split("```toml\n")[1].split("```")[0], encoding="utf-8")
    target = load_target(file)
    assert (target.name, target.isa, target.runs) == ("gateway", "armv7em", False)
    assert target.compile.memory["ram"].length == 0x20000
