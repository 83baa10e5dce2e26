"""The names of Python's that a PyTorch state dict refers to, and what they stand for here."""

from collections.abc import Iterable
from dataclasses import dataclass

from ..errors import ModelError

STORAGES = {
    "DoubleStorage": "f8",
    "FloatStorage": "f4",
    "HalfStorage": "f2",
    "BFloat16Storage": "bf16",
    "LongStorage": "i8",
    "IntStorage": "i4",
    "ShortStorage": "i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "b1",
}
"""Types of values by the name of PyTorch's storage class."""

DICT, TENSOR, PARAMETER = (
    "collections OrderedDict",
    "torch._utils _rebuild_tensor_v2",
    "torch._utils _rebuild_parameter",
)
GLOBALS = frozenset({DICT, TENSOR, PARAMETER, *(f"torch {name}" for name in STORAGES)})

SAVE = "save tensors alone: torch.save(model.state_dict(), ...)"
_HINTS = (
    (("torch._utils _rebuild_q", "torch q", "torch Q", "torch.ao.", "torch.nn.quantized"),
     "a quantized module's; save the state dict of the float network"),
    (("torch.nn.",), f"a whole module was saved; {SAVE}"),
    (("__torch__", "torch.jit", "torch._C"), f"a scripted module's; {SAVE}"),
)


@dataclass(frozen=True)
class Global:
    """A name of Python's that a pickle refers to."""

    name: str


@dataclass(frozen=True)
class Storage:
    """An entry data/<key> of the archive: `count` values of `kind`, a value of STORAGES."""

    kind: str
    key: str
    count: int


@dataclass(frozen=True)
class Tensor:
    """A view of a storage: its first value at `offset`, steps of `strides` values."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def refuse_globals(names: Iterable[str], source: str) -> None:
    """Raise a ModelError that lists the names outside GLOBALS, if there are any."""
    foreign = [name for name in dict.fromkeys(names) if name not in GLOBALS]
    if foreign:
        hint = next((hint for starts, hint in _HINTS
                     if any(name.startswith(starts) for name in foreign)), SAVE)
        shown = ", ".join(ascii(name.replace(" ", ".")[:80])[1:-1] for name in foreign[:8])
        more = f" and {len(foreign) - 8} more" if len(foreign) > 8 else ""
        raise ModelError(
            f"{source}: its pickle refers to {shown}{more}, which is never loaded; {hint}"
        )
