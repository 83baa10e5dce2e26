"""Compile, run and weigh the toy model with the targets' real tools."""

import shutil
import struct
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from lstmgen.errors import ToolError
from lstmgen.target import Target, list_targets, load_target
from lstmgen.toolchain import (
    build,
    build_image,
    footprint,
    missing_tools,
    read_elf,
    run_image,
    tool_versions,
)
from lstmgen.trace import Operation, command

from tools import RUNNABLE, need_program, usable
from toy import toy_files

END = command(Operation.END)
INPUT = {"HARNESS_INPUT_BYTES": 64}


def changed(target: Target, **compile_facts: object) -> Target:
    return replace(target, compile=replace(target.compile, **compile_facts))


@pytest.mark.parametrize("name", RUNNABLE)
def test_an_image_answers_commands(name: str, tmp_path: Path) -> None:
    target = usable(name)
    image = build_image(toy_files(), "verify", target, tmp_path, defines=INPUT)
    step = command(Operation.STEP, 0, 1) + struct.pack("<hh", 100, -20)
    data = command(Operation.RESET) + step + command(Operation.SELFTEST) + END
    output = run_image(image, data, tmp_path / "run")
    words = struct.unpack(f"<{len(output) // 4}i", output)
    # Reset; c = 40/2 + {400, 660, -580} + {5, -9, 14}, h = c/16; outputs; self-test; no damage.
    assert words[:10] == (2, 2, 2, 40, 40, 40, 0, 0, -40, -40)
    assert words[10:16] == (26, 41, -34, 425, 671, -546)
    assert words[20:] == (*words[16:18], 0, 0)


@pytest.mark.parametrize("name", ["host", "cortex-m4", "riscv32", "avr"])
def test_what_does_not_know_the_model_is_compiled_once(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And is, in every folder, what the commands there make of the files there."""
    target, compiled = usable(name), []
    real = build.call

    def call(command: list[str], *args: object, **kwargs: object) -> object:
        compiled.append(command[-1].removesuffix(".o"))
        return real(command, *args, **kwargs)

    monkeypatch.setattr(build, "call", call)
    # No other test has this macro.
    macros = {"HARNESS_INPUT_BYTES": 72}
    first, second = tmp_path / "first", tmp_path / "second"
    build_image(toy_files(), "verify", target, first, defines=macros)
    before = len(compiled)
    build_image(toy_files(True), "verify", target, second, defines=macros, flags=("-g",))
    fixed = set(compiled[:before]) - set(compiled[before:])
    assert fixed
    assert all(path.startswith("build/harness/") for path in fixed)
    assert "build/harness/verify.c" in compiled[before:]
    made = {path: (second / f"{path}.o").read_bytes() for path in fixed}
    shutil.rmtree(second / "build" / "harness")
    (second / "build" / "harness").mkdir()
    subprocess.run([second / "commands.sh"], check=True, capture_output=True)
    assert made == {path: (second / f"{path}.o").read_bytes() for path in fixed}


def test_missing_compiler_names_the_package(tmp_path: Path) -> None:
    target = changed(load_target("cortex-m0"), cc="no-such-gcc")
    assert missing_tools(target)["no-such-gcc"] == ("gcc-arm-none-eabi",)
    message = r"no-such-gcc is not installed; target cortex-m0 needs it.*gcc-arm-none-eabi"
    with pytest.raises(ToolError, match=message):
        footprint(toy_files(), target, tmp_path)


def test_missing_runner_names_the_package(tmp_path: Path) -> None:
    target = usable("riscv32")
    target = replace(target, run=replace(target.run, program="no-such-qemu"))
    image = build_image(toy_files(), "verify", target, tmp_path)
    message = "no-such-qemu is not installed; running target riscv32 .*qemu-system-misc"
    with pytest.raises(ToolError, match=message):
        run_image(image, END, tmp_path / "run")


def test_the_compilers_text_is_shown(tmp_path: Path) -> None:
    files = toy_files(source=("uint8_t i, j;", "uint8_t i, 9next;"))
    with pytest.raises(ToolError, match=r"(?s)compiling model/toy.c for host.*error: .*9next"):
        build_image(files, "verify", usable("host"), tmp_path)


def test_the_linkers_text_is_shown(tmp_path: Path) -> None:
    files = toy_files(header=("toy_state;", "toy_state; typedef char toy_big[99999999];"))
    files["model_port.h"] = files["model_port.h"].replace("tested_state;", "tested_state;", 1)
    files["toy.h"] = files["toy.h"].replace("int16_t b_h[2];", "int16_t b_h[2]; char big[99999];")
    with pytest.raises(ToolError, match=r"(?s)linking for cortex-m0.*region.*ram.*overflowed"):
        build_image(files, "verify", usable("cortex-m0"), tmp_path)


def test_avr_refuses_constants_beyond_the_near_memory(tmp_path: Path) -> None:
    files = toy_files()
    files["toy_weights.c"] += "\n".join(
        f"extern const TOY_ROM char toy_big{i}[]; const TOY_ROM char toy_big{i}[30000] = {{1}};"
        for i in range(3)
    )
    target = usable("avr")
    kept = tuple(f"-Wl,-u,toy_big{i}" for i in range(3))
    target = changed(target, link_flags=target.compile.link_flags + kept)
    with pytest.raises(ToolError, match="tables and weights pass the 64 KiB"):
        build_image(files, "verify", target, tmp_path, defines=INPUT)


def test_a_target_without_runner_builds_no_image(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="arc has no runner: its code is compiled, not run"):
        build_image(toy_files(), "verify", load_target("arc"), tmp_path)


@pytest.mark.parametrize("name", RUNNABLE)
def test_input_that_ends_early_is_told(name: str, tmp_path: Path) -> None:
    image = build_image(
        toy_files(), "verify", usable(name), tmp_path, defines={"HARNESS_INPUT_BYTES": 4}
    )
    data = command(Operation.STEP, 0, 1)
    with pytest.raises(ToolError, match="it asked for more input than there is"):
        run_image(image, data, tmp_path / "run")


def test_a_command_it_does_not_know_is_told(tmp_path: Path) -> None:
    image = build_image(toy_files(), "verify", usable("host"), tmp_path)
    with pytest.raises(ToolError, match="a command it does not know"):
        run_image(image, b"\x63\0\0\0", tmp_path / "run")


def test_more_input_than_was_set_aside_is_told(tmp_path: Path) -> None:
    image = build_image(toy_files(), "verify", usable("avr"), tmp_path, defines=INPUT)
    with pytest.raises(ToolError, match="100 bytes of input for avr; expected at most the 64"):
        run_image(image, bytes(100), tmp_path / "run")


BARE = [name for name in RUNNABLE if load_target(name).compile.linker_script is not None]
DEEP = """
    static int depth;
    volatile char hole[200];
    hole[0] = 1;
    return ++depth < DEPTH ? toy_selftest() + hole[0] : 0;
"""
BAD_WRITE = "*(volatile int *)0xFFFFFFF0u = 1; return 0;"


@pytest.mark.parametrize(
    ("name", "body"),
    # QEMU's micro:bit takes writes to nowhere without an exception.
    [(name, DEEP) for name in BARE] + [(name, BAD_WRITE) for name in BARE if name != "cortex-m0"],
)
def test_a_bad_access_or_a_stack_too_deep_is_told(name: str, body: str, tmp_path: Path) -> None:
    target = usable(name)
    depth = target.compile.memory["ram"].length // 4 // 200
    files = toy_files(selftest=("return 0;", body.replace("DEPTH", str(depth))))
    image = build_image(files, "verify", target, tmp_path, optimize="-O0")
    data = command(Operation.SELFTEST) + END
    with pytest.raises(ToolError, match="stack outgrew its region"):
        run_image(image, data, tmp_path / "run")


@pytest.mark.parametrize("name", ["host", "cortex-m4", "riscv32", "avr"])
def test_a_run_that_does_not_end_is_stopped(name: str, tmp_path: Path) -> None:
    files = toy_files(selftest=("return 0;", 'for (;;) { __asm__ volatile(""); }'))
    image = build_image(files, "verify", usable(name), tmp_path, defines=INPUT)
    data = command(Operation.SELFTEST) + END
    with pytest.raises(ToolError, match=r"took longer than 0.5 s and was stopped.*The command"):
        run_image(image, data, tmp_path / "run", timeout=0.5)


def test_a_signal_is_told(tmp_path: Path) -> None:
    files = toy_files(selftest=("return 0;", "*(volatile int *)16 = 1; return 0;"))
    image = build_image(files, "verify", usable("host"), tmp_path)
    with pytest.raises(ToolError, match="signal 11"):
        run_image(image, command(Operation.SELFTEST) + END, tmp_path / "run")


@pytest.mark.parametrize("name", list_targets())
def test_sizes_are_told_apart(name: str, tmp_path: Path) -> None:
    size = footprint(toy_files(), usable(name), tmp_path)
    assert (size.table_bytes, size.weights_bytes) == (8, 24)
    assert size.state_bytes == (30 if name == "avr" else 32)
    assert 200 < size.code_bytes < 1500


def test_code_counts_what_it_calls_of_libgcc(tmp_path: Path) -> None:
    target = usable("cortex-m0")
    # The core cannot divide: the remainder is a call.
    without = toy_files(source=("c[i] / 16 % 1000", "c[i] & 1023"))
    size = footprint(without, target, tmp_path / "a").code_bytes
    assert footprint(toy_files(), target, tmp_path / "b").code_bytes > size + 200


def test_a_folder_without_a_model_is_told(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match=r"0 generated models among a\.c; expected one <name>\.h"):
        footprint({"a.c": ""}, load_target("host"), tmp_path)


def test_no_elf_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.o"
    path.write_text("text", encoding="utf-8")
    with pytest.raises(ToolError, match="no ELF file"):
        read_elf(path)


def test_versions_are_one_line_each() -> None:
    versions = tool_versions(usable("cortex-m4"))
    assert versions["arm-none-eabi-gcc"].startswith("arm-none-eabi-gcc")
    assert versions["qemu-system-arm"].startswith("QEMU emulator version")
    assert "does not tell" in tool_versions(usable("avr"))["simavr"]


INSTALLER = Path(__file__).resolve().parent.parent / "tools" / "install-tools.sh"


def install(folder: Path, **programs: str) -> subprocess.CompletedProcess[str]:
    """Run the installer where there are only these programs, each a line of shell."""
    shell = str(shutil.which("sh"))
    for name, line in programs.items():
        program = folder / name.replace("_", "-")
        program.write_text(f"#!{shell}\n{line}\n", encoding="utf-8")
        program.chmod(0o755)
    command = [shell, str(INSTALLER)]
    return subprocess.run(command, env={"PATH": str(folder)}, capture_output=True, text=True)


def test_the_installer_says_what_it_installs_and_uses_sudo_if_not_root(tmp_path: Path) -> None:
    result = install(
        tmp_path,
        id="echo 1000",
        sudo='echo "SUDO $*"',
        apt_get="exit 1",
        apt_cache='test "$2" != gcc-arc-linux-gnu',
        avr_gcc="exit 1",
    )
    assert result.returncode == 0, result.stderr
    first, update, line = result.stdout.splitlines()
    assert first.startswith("install-tools: installing by apt-get: gcc g++ clang gcc-arm-none-eabi")
    assert update == "SUDO apt-get update"
    assert line.startswith("SUDO env DEBIAN_FRONTEND=noninteractive apt-get install --yes")
    packages = line.split()
    assert "qemu-system-misc" in packages
    assert "avr-libc" in packages
    assert not {"gcc-avr", "gcc-arc-linux-gnu"} & set(packages)
    assert "no package gcc-arc-linux-gnu; left out" in result.stderr


def test_the_installer_speaks_plainly_where_it_cannot(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    result = install(tmp_path / "a", id="echo 0")
    assert result.returncode == 1
    assert "this system has no apt-get; install these" in result.stderr
    result = install(tmp_path / "b", id="echo 1000", apt_get="exit 1")
    assert result.returncode == 1
    assert "not root, and no sudo: let root run" in result.stderr


def test_the_installer_leaves_alone_what_is_present() -> None:
    for name in list_targets():
        usable(name)
    for program in ("g++", "clang", "valgrind", "cppcheck"):
        need_program(program)
    result = subprocess.run([INSTALLER], capture_output=True, text=True, check=True)
    assert result.stdout == "install-tools: all tools are present\n"
