"""Templates to text: the files of a generated folder, and the harness's view of a model."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ..errors import TargetError
from ..paths import data_dir
from ..quantized import QuantizedNetwork
from .contracts import RUN_STEPS, Proof, proof_of
from .ctext import unique_names
from .gru import LayerView, RecurrentView
from .kernels import Effort
from .layers import EmbeddingView
from .view import ModelView, model_view

OUTPUTS = {
    "model.h.j2": "{name}.h",
    "model.c.j2": "{name}.c",
    "weights.h.j2": "{name}_weights.h",
    "weights.c.j2": "{name}_weights.c",
    "selftest.c.j2": "{name}_selftest.c",
    "README.md.j2": "README.md",
    "LICENSE.j2": "LICENSE",
}
"""Which file of a generated folder each template makes."""

OPTIONAL_OUTPUTS = {"kernels.S.j2": "{name}_kernels.S"}
"""The same for what only some targets and networks have."""

_ADDRESSABLE = {"avr": (32767, 65536)}
"""Bytes of one array, and of all constants that C reads, that an instruction set's pointers
reach."""

PORTABLE = "portable"
"""The kernels in plain C99, which serve every instruction set that has none of its own."""


class TargetFacts(Protocol):
    """What code generation asks of a target."""

    @property
    def name(self) -> str:
        """The target's name, for the banner."""

    @property
    def isa(self) -> str:
        """The instruction set, which picks the kernels."""


class SelfTestFacts(Protocol):
    """The self-test: how many steps to run, from which seed, and the CRC-32 to end with."""

    @property
    def steps(self) -> int:
        """The number of time steps."""

    @property
    def seed(self) -> int:
        """The start of the generator of inputs, a uint32."""

    @property
    def crc(self) -> int:
        """The CRC-32 of all outputs and of the final state."""


def generate(
    q: QuantizedNetwork,
    *,
    name: str,
    target: TargetFacts,
    selftest: SelfTestFacts,
    effort: Effort = "speed",
) -> dict[str, str]:
    """Return the C sources and texts of `q` as file name -> text, all names prefixed by `name`.

    effort: what unrolling in kernels is worth. Where a layer's weights allow a kernel of the
    target's instruction set, the files include `<name>_kernels.S`.
    Equal arguments give equal bytes. Raises LstmgenError if `name` cannot be a prefix in C,
    RangeError if the integers of `q` do not fit the C arithmetic.
    """
    environment = _environment()
    view = model_view(q, name, target.isa, effort)
    _check_constants(view, target)
    isa = target.isa if any(layer.kernel for layer in view.layers) else PORTABLE
    values = {
        "view": view,
        "target": target.name,
        "isa": isa,
        "kernels": "isa/portable.j2",
        "selftest": selftest,
        "effort": effort,
    }
    outputs = dict(OUTPUTS)
    if view.assembly_layers:
        outputs |= OPTIONAL_OUTPUTS
    return {
        output.format(name=name): environment.get_template(template).render(values)
        for template, output in outputs.items()
    }


def _check_constants(view: ModelView, target: TargetFacts) -> None:
    """Raise TargetError if the constants are more than the target's compiler can address."""
    if target.isa not in _ADDRESSABLE:
        return
    most, most_together = _ADDRESSABLE[target.isa]
    problems = [
        f"{array.symbol} takes {array.bytes} bytes; {target.name} has at most {most} in an array"
        for layer in view.layers
        for array in layer.arrays
        if array.bytes > most
    ]
    together = view.near_bytes
    if together > most_together:
        problems.append(
            f"weights and tables take {together} bytes; {target.name} has at most {most_together}"
        )
    if problems:
        raise TargetError.of(f"{line}: fewer units, or --precision q7" for line in problems)


def port_header(q: QuantizedNetwork, *, name: str) -> str:
    """Return model_port.h, which gives the test harness one set of names for any model."""
    template = _environment().get_template("harness/port.h.j2")
    return template.render(view=model_view(q, name))


def proof_harness(
    q: QuantizedNetwork, *, name: str, isa: str = PORTABLE
) -> tuple[str, Proof]:
    """Return the C of the prover's analyses of the C for `isa`, and what they assume and show."""
    view = model_view(q, name, isa)
    proof = proof_of(q, view)
    template = _environment().get_template("harness/prove.c.j2")
    return template.render(view=view, proof=proof, run_steps=RUN_STEPS), proof


@dataclass(frozen=True)
class LayerBytes:
    """Bytes of one layer: its constants, and its share of an instance's state.

    bits: of the integers that hold its weights in portable C, by array: w, or wx and wh.
    """

    weights: int
    state: int
    bits: dict[str, int]


@dataclass(frozen=True)
class Footprint:
    """Bytes that the generated code asks for beside its instructions.

    weights: weights, biases, shifts and initial values; tables: the activation tables, both
    read only; state: RAM of one instance. kernels: by layer, what computes it and why.
    layers: by the name of a part (`q.parts`), what it has of them.
    """

    weights: int
    tables: int
    state: int
    kernels: dict[str, str]
    layers: dict[str, LayerBytes]


def footprint(
    q: QuantizedNetwork, *, name: str, isa: str = PORTABLE, effort: Effort = "speed"
) -> Footprint:
    """Return the sizes of what `generate` makes of `q`."""
    view = model_view(q, name, isa, effort)
    kernels = {
        layer.c_name: f"{layer.kernel.name if layer.kernel else 'portable C'}: {layer.why}"
        for layer in view.layers
    }
    c_names = unique_names([part.name for part in q.parts])
    views = {layer.c_name: layer for layer in view.layers}
    layers = {
        part.name: _layer_bytes(views[c_name])
        for part, c_name in zip(q.parts, c_names, strict=True)
    }
    return Footprint(view.weight_bytes, view.table_bytes, view.state_bytes, kernels, layers)


def _layer_bytes(layer: LayerView) -> LayerBytes:
    weights = sum(array.bytes for array in layer.arrays)
    if isinstance(layer, EmbeddingView):
        return LayerBytes(weights, 0, {"table": layer.table.bits})
    if not isinstance(layer, RecurrentView):
        return LayerBytes(weights, 0, {"w": layer.w.bits})
    state = 4 * layer.units + layer.width * layer.h.format.storage_bits // 8
    return LayerBytes(weights, state, {"wx": layer.wx.bits, "wh": layer.wh.bits})


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(data_dir("templates")),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    # What a macro gives, without the empty lines around it.
    environment.filters["lines"] = lambda text: text.strip("\n")
    return environment


