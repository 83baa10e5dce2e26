import math
import re
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lstmgen.codegen.ctext import (
    KEYWORDS,
    LINE,
    MAX_LAYER_NAME,
    MAX_NAME,
    call,
    check_name,
    comment_text,
    initializer,
    integer,
    power_of_two,
    unique_names,
)
from lstmgen.errors import LstmgenError


@pytest.mark.parametrize("name", ["model", "kws2", "Wake_Word", "a", "x" * MAX_NAME])
def test_names_that_c_takes(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("2kws", "'2kws' is not an identifier of letters, digits and underscores; expected a C id"),
        ("", "'' is not an identifier"),
        ("my-model", "is not an identifier"),
        ("modell\u00e4", "is not an identifier"),
        ("model\n", "is not an identifier"),
        ("int", "is a keyword of C or C\\+\\+; expected .* \\(use --name\\)"),
        ("namespace", "is a keyword"),
        ("stdint", "would hide the standard header <stdint.h>"),
        ("Math", "would hide the standard header <math.h>"),
        ("_kws", "is reserved for the compiler"),
        ("a__b", "is reserved for the compiler"),
        ("kws_", "ends with an underscore"),
        ("x" * (MAX_NAME + 1), "has 33 characters, more than 32"),
    ],
)
def test_names_that_c_refuses(name: str, message: str) -> None:
    with pytest.raises(LstmgenError, match=message):
        check_name(name)


def test_layer_names_become_identifiers_without_a_clash() -> None:
    given_names = ["lstm 0", "lstm_0", "LSTM-0", "0", "", "__init__", "\u00e9t\u00e9", "for"]
    names = unique_names(given_names)
    assert names[:6] == ("lstm_0", "lstm_0_2", "LSTM_0_3", "layer_0", "layer", "init")
    assert names[6:] == ("t", "for")  # `for` gets a prefix and a suffix wherever it is used


@given(st.lists(st.text(max_size=40), max_size=12))
def test_layer_names_are_unique_valid_and_short(names: list[str]) -> None:
    made = unique_names(names)
    assert len({name.upper() for name in made}) == len(names)
    for name in made:
        assert re.fullmatch(r"[A-Za-z][A-Za-z0-9]*(_[A-Za-z0-9]+)*", name)
        assert len(name) <= MAX_LAYER_NAME


def test_keywords_of_both_languages_are_known() -> None:
    assert {"restrict", "typeof", "co_await", "class", "inline"} <= KEYWORDS


def test_integers() -> None:
    assert [integer(v) for v in (0, -5, 2**31 - 1, -(2**31))] == [
        "0",
        "-5",
        "2147483647",
        "(-2147483647 - 1)",
    ]


@pytest.mark.parametrize("exponent", range(-40, 41))
def test_powers_of_two_are_exact_floats(exponent: int) -> None:
    literal = power_of_two(exponent)
    assert literal.endswith("f")
    assert np.float32(literal[:-1]) == 2.0**exponent


def test_comments_cannot_be_left() -> None:
    assert comment_text("a */ int b; /* \u00fc\n\\") == "a * / int b; / * ? /"


@pytest.mark.parametrize("text", [
    "*\\/ int evil; /\\*", "*\\\\/", "**//", "/*/", "*/*", "\x1b[2J*/", "*\x00/", "*\n/", "*\t\\/",
])
def test_no_name_gets_out_of_its_comment(text: str) -> None:
    """As a name out of a model file might, to have code of its own compiled."""
    found = comment_text(text)
    assert "*/" not in found
    assert "/*" not in found
    assert "\\" not in found
    assert found.isprintable()


def test_calls_break_where_they_are_too_long() -> None:
    assert call("f", ["a", "b"]) == "    f(a, b);"
    long = call("function", ["x" * 50, "y" * 50])
    assert long == f"    function(\n        {'x' * 50},\n        {'y' * 50});"


def read(text: str, shape: tuple[int, ...]) -> np.ndarray:
    """Invert `initializer`."""
    plain = text.replace("(-2147483647 - 1)", "-2147483648")
    return np.array(re.findall(r"-?\d+", plain), np.int64).reshape(shape)


@given(
    hnp.arrays(
        np.int64,
        hnp.array_shapes(min_dims=1, max_dims=3, max_side=9),
        elements=st.integers(-(2**31), 2**31 - 1),
    )
)
def test_initializers_hold_the_values_within_the_line(values: np.ndarray) -> None:
    text = initializer(values)
    np.testing.assert_array_equal(read(text, values.shape), values)
    assert max(map(len, text.splitlines())) <= LINE
    braces = 1 + sum(math.prod(values.shape[:axis]) for axis in range(1, values.ndim))
    assert text.count("{") == text.count("}") == braces


@pytest.mark.parametrize("shape", [(200,), (3, 200), (2, 40, 4), (1, 1, 1)])
def test_initializers_of_typical_shapes(shape: tuple[int, ...], rng: np.random.Generator) -> None:
    values = rng.integers(-128, 128, shape)
    text = initializer(values)
    np.testing.assert_array_equal(read(text, shape), values)
    assert max(map(len, text.splitlines())) <= LINE
    assert not re.search(r"[ \t]$", text, re.MULTILINE)


def test_an_initializer_as_it_looks() -> None:
    assert initializer(np.array([[1, -2], [30, 4]])) == "{\n    { 1, -2}, {30,  4}\n}"


def test_a_hundred_thousand_weights_format_fast(rng: np.random.Generator) -> None:
    values = rng.integers(-32768, 32768, (128, 196, 4))
    start = time.process_time()
    initializer(values)
    assert time.process_time() - start < 0.3
