"""No uninitialised value, no byte out of bounds: valgrind and MSan over networks of every kind.

All networks live in one program, each under its own name, which reports show. Its buffers are
of exactly the documented size, on the heap, and every output and state is branched on.
"""

import subprocess
from pathlib import Path

import pytest
from test_misra import every_network

from lstmgen.quantized import QuantizedNetwork

from builders import PRECISIONS, quantized
from compiled import compile_c, sources, write
from tools import need, need_program

STEPS = 5

EXERCISE = """
#include <stdlib.h>
#include <string.h>
#include "{name}.h"

unsigned {name}_exercise(void);

unsigned {name}_exercise(void)
{{
    const size_t outputs = sizeof({name}_output) * {NAME}_OUTPUTS * {runs};
    {name}_state *state = malloc(sizeof *state);
    {name}_input *x = malloc(sizeof *x * {NAME}_INPUTS * {steps});
    unsigned char *y = malloc(outputs);
    unsigned odd = 0u;
    {buffer}

    for (unsigned kind = 0u; kind < 3u; kind++) {{
        for (unsigned n = 0u; n < {NAME}_INPUTS * {steps}; n++) {{
            x[n] = ({name}_input)((kind + n) % 3u ? {NAME}_INPUT_MIN : {NAME}_INPUT_MAX);
        }}
        {name}_reset(state);
        {run};
        for (size_t n = 0; n < outputs; n++) {{
            if (y[n] & 1u) {{ odd++; }}
        }}
        for (size_t n = 0; n < sizeof *state; n++) {{
            if (((const unsigned char *)state)[n] & 1u) {{ odd++; }}
        }}
    }}
    {free}
    free(y);
    free(x);
    free(state);
    return ({name}_selftest() != 0) + (odd > 1u << 30);
}}
"""


def exercise(name: str, q: QuantizedNetwork, header: str) -> str:
    buffered = "_BUFFER_VALUES" in header
    upper = name.upper()
    buffer = f"{name}_value *buffer = malloc(sizeof *buffer * {upper}_BUFFER_VALUES({STEPS}u));"
    given = "buffer, " if buffered else ""
    return EXERCISE.format(
        name=name, NAME=upper, steps=f"{STEPS}u", runs=STEPS if q.outputs == "sequence" else 1,
        buffer=buffer if buffered else "", free="free(buffer);" if buffered else "",
        run=f"{name}_run(state, x, {STEPS}u, {given}(void *)y)",
    )


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The C files of one program with all networks: portable C, and kernels for the host."""
    folder = tmp_path_factory.mktemp("memory")
    made = [(name, q, "size") for name, q in every_network().items()]
    for precision in PRECISIONS:
        q = quantized("odd_sizes", precision)
        made += [(f"{precision}_{effort}", q, effort) for effort in ("size", "speed")]
    main = []
    for name, q, effort in made:
        files = sources(q, name, effort=effort)
        files[f"{name}_exercise.c"] = exercise(name, q, files[f"{name}.h"])
        write(files, folder)
        main.append(f"{name}_exercise()")
    declared = "\n".join(f"unsigned {call[:-2]}(void);" for call in main)
    text = f"{declared}\nint main(void)\n{{\n    return (int)({' + '.join(main)});\n}}\n"
    return write({"main.c": text}, folder)


def test_valgrind_finds_nothing(program: list[str], tmp_path: Path) -> None:
    output = built("gcc", ["-g", "-O1"], program, tmp_path)
    run_clean(memcheck(output))


def test_the_memory_sanitizer_finds_nothing(program: list[str], tmp_path: Path) -> None:
    need_msan(tmp_path)
    run_clean([built("clang", MSAN, program, tmp_path)])


FAULT = """
#include <stdlib.h>
int main(void)
{
    int *some = malloc(2 * sizeof *some);
    const int found = some[1] > 3 ? 7 : 0;
    free(some);
    return found;
}
"""

MSAN = ["-g", "-O1", "-fsanitize=memory", "-fno-sanitize-recover=all"]


def test_both_find_an_uninitialised_value(tmp_path: Path) -> None:
    fault = write({"fault.c": FAULT}, tmp_path)
    done = subprocess.run(
        memcheck(built("gcc", ["-g", "-O0"], fault, tmp_path)), capture_output=True, text=True,
        check=False,
    )
    assert "uninitialised" in done.stderr
    assert done.returncode == 99
    need_msan(tmp_path)
    command = built("clang", MSAN, fault, tmp_path)
    done = subprocess.run([command], capture_output=True, text=True, check=False)
    assert "use-of-uninitialized-value" in done.stderr


def built(compiler: str, flags: list[str], files: list[str], folder: Path) -> str:
    output = str(folder / f"program_{compiler}")
    compile_c(compiler, ["-std=c99", *flags, *files, "-o", output])
    return output


def memcheck(program: str) -> list[str]:
    need_program("valgrind")
    return ["valgrind", "--quiet", "--error-exitcode=99", "--leak-check=full", program]


def need_msan(folder: Path) -> None:
    """Skip where clang comes without its sanitizers."""
    (folder / "empty.c").write_text("int main(void) { return 0; }\n", encoding="utf-8")
    command = ["clang", *MSAN, str(folder / "empty.c"), "-o", str(folder / "empty")]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        need("clang's sanitizers are not installed")


def run_clean(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
