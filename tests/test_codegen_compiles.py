"""Both languages, both compilers, every optimization: not one warning, no undefined behaviour."""

import subprocess
from pathlib import Path

import pytest

from lstmgen.quantized import Precision, QuantizedNetwork

from builders import NETWORKS, PRECISIONS, by_feature, quantized
from compiled import C_WARNINGS, LANGUAGES, compile_c, sources, write
from tools import need_program

EVERYTHING = ("odd_sizes", "extreme_weights")
"""Networks that between them have every kind of layer and of shift."""

EXERCISE = """
#define MODEL_FLOAT_HELPERS
#include "model.h"

static model_state state;
static model_input x[20u * MODEL_INPUTS];
static model_output y[20u * MODEL_OUTPUTS];

int main(void)
{
    const unsigned span = (unsigned)(MODEL_INPUT_MAX - MODEL_INPUT_MIN) + 1u;
    unsigned noise = 1u;

    for (unsigned kind = 0u; kind < 5u; kind++) {
        for (unsigned n = 0u; n < (20u * MODEL_INPUTS); n++) {
            const unsigned high = (kind == 2u) ? ((n / MODEL_INPUTS) & 1u) : (kind & 1u);
            x[n] = (model_input)(high ? MODEL_INPUT_MAX : MODEL_INPUT_MIN);
            noise = (noise * 1664525u) + 1013904223u;
            if (kind == 4u) {
                x[n] = (model_input)(MODEL_INPUT_MIN + (int)((noise >> 16) % span));
            }
        }
        for (unsigned t = 0u; (kind == 3u) && (t < 20u); t++) {
            float real[MODEL_INPUTS];

            for (unsigned j = 0u; j < MODEL_INPUTS; j++) {
                real[j] = (float)((t * MODEL_INPUTS) + j) - 30.0f;
            }
            model_input_from_float(real, &x[t * MODEL_INPUTS]);
        }
        model_reset(&state);
        for (unsigned again = 0u; again < 300u; again++) {
            model_run(&state, x, 20u, y);
        }
    }
    return model_selftest();
}
"""


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", NETWORKS)
def test_no_warning_in_c_and_in_cpp(name: str, precision: Precision, tmp_path: Path) -> None:
    check(quantized(name, precision), "gcc", "-O2", tmp_path)
    check(quantized(name, precision), "g++", "-Os", tmp_path)


@pytest.mark.parametrize("optimize", ["-O0", "-Os", "-O2", "-O3"])
@pytest.mark.parametrize("compiler", LANGUAGES)
@pytest.mark.parametrize("name", EVERYTHING)
def test_no_warning_at_any_optimization(
    name: str, compiler: str, optimize: str, tmp_path: Path
) -> None:
    for precision in PRECISIONS:
        check(quantized(name, precision), compiler, optimize, tmp_path)


@pytest.mark.parametrize("compiler", LANGUAGES)
def test_no_warning_where_features_have_formats_of_their_own(
    compiler: str, tmp_path: Path
) -> None:
    check(by_feature(quantized("sequence", "q15")), compiler, "-O2", tmp_path)


@pytest.mark.parametrize("compiler", LANGUAGES)
def test_the_intrinsics_of_the_system_do_as_well(
    compiler: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the whole of <immintrin.h>, which other tests go without, for it takes long."""
    monkeypatch.delenv("C_INCLUDE_PATH")
    monkeypatch.delenv("CPLUS_INCLUDE_PATH")
    check(quantized("odd_sizes", "q7"), compiler, "-O2", tmp_path)


def check(q: QuantizedNetwork, compiler: str, optimize: str, folder: Path) -> None:
    files = write(sources(q), folder)
    output = str(folder / "model.so")
    flags = [*LANGUAGES[compiler], *C_WARNINGS, optimize, "-DMODEL_FLOAT_HELPERS"]
    compile_c(compiler, [*flags, "-shared", "-fPIC", *files, "-o", output])


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", NETWORKS)
def test_the_sanitizers_stay_silent(name: str, precision: Precision, tmp_path: Path) -> None:
    files = {**sources(quantized(name, precision)), "main.c": EXERCISE}
    program = str(tmp_path / "program")
    sanitize = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    compile_c("gcc", ["-O1", "-std=c99", *sanitize, *write(files, tmp_path), "-o", program])
    done = subprocess.run([program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_whole_program_optimization_sees_one_set_of_types(tmp_path: Path) -> None:
    files = {**sources(quantized("odd_sizes", "q7")), "main.c": EXERCISE}
    program = str(tmp_path / "program")
    flags = ["-O2", "-flto=auto", "-Wall", "-Wextra", "-Wlto-type-mismatch", "-Werror"]
    compile_c("gcc", [*flags, *write(files, tmp_path), "-o", program])
    assert subprocess.run([program], check=False).returncode == 0


def test_two_models_live_in_one_program(tmp_path: Path) -> None:
    one, two = (
        sources(quantized("odd_sizes", "q7"), "one"),
        sources(quantized("sigmoid_everywhere", "q15"), "two"),
    )
    calls = "one_selftest() + two_selftest()"
    main = f'#include "one.h"\n#include "two.h"\nint main(void) {{ return {calls}; }}\n'
    program = str(tmp_path / "program")
    compile_c("gcc", [*write({**one, **two, "main.c": main}, tmp_path), "-o", program])
    assert subprocess.run([program], check=False).returncode == 0


def test_code_and_constants_can_be_placed(tmp_path: Path) -> None:
    need_program("objdump")
    files = write(sources(quantized("odd_sizes", "w8a16")), tmp_path)
    library = str(tmp_path / "model.so")
    hooks = [
        f'-DMODEL_{what}_ATTR=__attribute__((section("{section}")))'
        for what, section in (("CODE", ".fast_code"), ("WEIGHTS", ".fast_data"))
    ]
    compile_c("gcc", ["-Wall", "-Werror", *hooks, "-O2", "-shared", "-fPIC", *files, "-o", library])
    headers = subprocess.run(["objdump", "-h", library], capture_output=True, text=True, check=True)
    assert ".fast_code" in headers.stdout
    assert ".fast_data" in headers.stdout


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(
    "compiler", ["avr-gcc -mmcu=atmega2560", "arm-none-eabi-gcc -mcpu=cortex-m0 -mthumb"]
)
def test_small_cores_need_no_wider_types(
    compiler: str, precision: Precision, tmp_path: Path
) -> None:
    program, *machine = compiler.split()
    for name in EVERYTHING:
        files = write(sources(quantized(name, precision)), tmp_path)
        flags = [*machine, "-std=gnu99", *C_WARNINGS, "-Os", "-DMODEL_FLOAT_HELPERS"]
        for file in files:
            compile_c(program, [*flags, "-c", file, "-o", str(tmp_path / "model.o")])


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", NETWORKS)
def test_avr_gcc_compiles_every_network(name: str, precision: Precision, tmp_path: Path) -> None:
    files = write(sources(quantized(name, precision), target="avr"), tmp_path)
    (source,) = (file for file in files if file.endswith("model.c"))
    for optimize in ("-Os", "-O2", "-O3"):
        flags = ["-mmcu=atmega2560", "-std=gnu99", *C_WARNINGS, optimize]
        compile_c("avr-gcc", [*flags, "-c", source, "-o", str(tmp_path / "model.o")])


def test_strict_c99_on_avr_falls_back_to_ram(tmp_path: Path) -> None:
    files = write(sources(quantized("one_unit", "q7")), tmp_path)
    for file in files:
        flags = ["-mmcu=atmega2560", "-std=c99", *C_WARNINGS, "-Os"]
        compile_c("avr-gcc", [*flags, "-c", file, "-o", str(tmp_path / "model.o")])
