"""C as text: identifiers that every compiler takes, numbers, and arrays in tidy lines."""

import re
from collections.abc import Iterable, Sequence

import numpy as np

from ..errors import LstmgenError
from ..qformat import IntArray

MAX_NAME = 32
"""Longest name of a model in C."""

MAX_LAYER_NAME = 22
"""Longest name of a layer in C: with the model's name and a suffix (`_shift`) an identifier
stays within the 63 characters that C99 compares."""

LINE = 100
"""Longest line of generated text."""

INT32_MIN = -(1 << 31)

_C_KEYWORDS = """
    auto break case char const continue default do double else enum extern float for goto if
    inline int long register restrict return short signed sizeof static struct switch typedef
    union unsigned void volatile while
    alignas alignof bool constexpr false nullptr static_assert thread_local true typeof
    typeof_unqual
"""
_CPP_KEYWORDS = """
    and and_eq asm bitand bitor catch char16_t char32_t char8_t class co_await co_return co_yield
    compl concept const_cast consteval constinit decltype delete dynamic_cast explicit export
    friend mutable namespace new noexcept not not_eq operator or or_eq private protected public
    reinterpret_cast requires static_cast template this throw try typeid typename using virtual
    wchar_t xor xor_eq
"""
# The model's name is also that of its header, which must not hide one of the compiler's.
_HEADERS = """
    assert complex ctype errno fenv float inttypes iso646 limits locale math setjmp signal
    stdalign stdarg stdatomic stdbool stddef stdint stdio stdlib stdnoreturn string tgmath
    threads time uchar wchar wctype
"""
KEYWORDS = frozenset(_C_KEYWORDS.split() + _CPP_KEYWORDS.split())
HEADERS = frozenset(_HEADERS.split())


def check_name(name: str) -> str:
    """Return `name` if it can be the prefix of a generated model, else raise LstmgenError."""
    problem = _name_problem(name)
    if problem:
        raise LstmgenError(
            f"C name {name!r} {problem}; expected a C identifier such as 'model' (use --name)"
        )
    return name


def _name_problem(name: str) -> str | None:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        return "is not an identifier of letters, digits and underscores"
    if name in KEYWORDS:
        return "is a keyword of C or C++"
    if name == "main":
        return "would make files that look like the program's own main.c"
    if name.lower() in HEADERS:
        return f"would hide the standard header <{name.lower()}.h>"
    if name.startswith("_") or "__" in name:
        return "is reserved for the compiler, which owns names with _ in front and with __"
    if name.endswith("_"):
        return "ends with an underscore, which gives reserved names with __"
    if len(name) > MAX_NAME:
        return f"has {len(name)} characters, more than {MAX_NAME}"
    return None


def unique_names(names: Sequence[str]) -> tuple[str, ...]:
    """Return an identifier for each of `names`, as near to it as can be and none twice.

    They differ in more than the case of letters, since macros use them in upper case.
    """
    taken: set[str] = set()
    result = []
    for name in names:
        stem = re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_")[:MAX_LAYER_NAME].strip("_")
        if not stem or stem[0].isdigit():
            stem = f"layer_{stem}".rstrip("_")[:MAX_LAYER_NAME]
        candidate, number = stem, 2
        while candidate.upper() in taken:
            suffix = f"_{number}"
            candidate = stem[: MAX_LAYER_NAME - len(suffix)].rstrip("_") + suffix
            number += 1
        taken.add(candidate.upper())
        result.append(candidate)
    return tuple(result)


def integer(value: int) -> str:
    """Return `value` (an int32) as C: INT32_MIN has no literal of its own."""
    return "(-2147483647 - 1)" if value == INT32_MIN else str(value)


def power_of_two(exponent: int) -> str:
    """Return 2**exponent as an exact float literal of C."""
    return f"{2.0**exponent!r}f"


def comment_text(text: str) -> str:
    """Return `text` on one line of printable ASCII that cannot end or open a comment."""
    plain = " ".join(text.encode("ascii", "replace").decode().split())
    plain = "".join(letter if letter.isprintable() else "?" for letter in plain)
    # Backslashes first: one between * and / must not become the end of the comment.
    return plain.replace("\\", "/").replace("*/", "* /").replace("/*", "/ *")


def call(function: str, arguments: Sequence[str], indent: int = 4) -> str:
    """Return a call statement, broken after each argument where it is too long for a line."""
    margin = " " * indent
    line = f"{margin}{function}({', '.join(arguments)});"
    if len(line) <= LINE:
        return line
    inner = margin + "    "
    return f"{margin}{function}(\n{inner}" + f",\n{inner}".join(arguments) + ");"


def initializer(values: IntArray) -> str:
    """Return `values` (any shape) as a C initializer in lines of at most 100 columns.

    Every dimension has its braces, so that no compiler asks for them; cells are aligned.
    The lines of one row are laid out once and repeated, which keeps 100,000 weights cheap.
    """
    flat = np.ascontiguousarray(values).ravel().tolist()
    width = max(len(str(min(flat))), len(str(max(flat))))
    cells: Iterable[object] = flat
    cell = f"%{width}d"
    if INT32_MIN in flat:
        cells, cell = [integer(value) for value in flat], f"%{len(integer(INT32_MIN))}s"
    cell_width = len(cell % next(iter(cells)))
    layout = "\n".join(_block(values.shape, cell, cell_width, 4))
    return "{\n" + layout % tuple(cells) + "\n}"


def _block(shape: tuple[int, ...], cell: str, width: int, indent: int) -> list[str]:
    """Return the lines of an array of `shape`, without its outer braces, as a %-format."""
    margin = " " * indent
    count, row = shape[0], shape[1:]
    if not row:
        return _wrap(count, cell, width, margin)
    # A row that fits, comma included, is one cell of its parent: {a, b, c, d}.
    row_width = width * row[0] + 2 * row[0]
    if len(row) == 1 and indent + row_width < LINE:
        return _wrap(count, "{" + ", ".join([cell] * row[0]) + "}", row_width, margin)
    lines = [margin + "{", *_block(row, cell, width, indent + 4), margin + "},"]
    return [*(lines * count)[:-1], margin + "}"]


def _wrap(count: int, cell: str, width: int, margin: str) -> list[str]:
    per_line = max(1, (LINE - len(margin) + 1) // (width + 2))
    full, rest = divmod(count, per_line)
    lines = [margin + ", ".join([cell] * per_line)] * full
    if rest:
        lines.append(margin + ", ".join([cell] * rest))
    return [line + "," for line in lines[:-1]] + lines[-1:]
