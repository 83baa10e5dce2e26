"""The widths that a user chooses: of weights, layer by layer, and of the network's input."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from ..errors import ModelError
from ..layers import Bidirectional, Dense, Embedding, Layer, Lstm
from ..network import Network
from .modes import Mode

WEIGHT_BITS = (8, 16)
INPUT_BITS = range(8, 17)

WIDE_WEIGHTS = 16
"""Bits of the weights of an input that is wider than the precision's own."""

_FIELDS = {"W": "input_weights", "U": "hidden_weights", "P": "dense_weights"}
"""By the letter of a recurrent layer's weights, the field of a mode that has their width."""


@dataclass(frozen=True)
class Widths:
    """Widths in bits; what is absent has the precision's own.

    weights: by the name of a layer or of a half of a bidirectional one, and by the fields of a
        mode. input: of the network's input, None where it is open.
    """

    weights: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    input: int | None = None

    @classmethod
    def of(
        cls, network: Network, given: Mapping[str, int | str], input_bits: int | None = None
    ) -> "Widths":
        """Return the widths `given` by names such as "lstm0.U"; W: input weights, or a dense
        layer's; U: recurrent weights; P: a projection.

        Raises ModelError for what is no layer, part or width, a line each.
        """
        known = dict(_fields(network))
        layers = {name.rpartition(".")[0]: None for name in known}
        problems, weights = [], dict[str, dict[str, int]]()
        for name, bits in given.items():
            if name not in known:
                layer = name.rpartition(".")[0]
                own = [one for one in known if one.rpartition(".")[0] == layer]
                what = f"expected {' or '.join(own)}" if own else (
                    "no layer with weights has this name; expected one of "
                    f"{', '.join(layers)}, with .W or .U behind it"
                )
                problems.append(f"width of {name}: {what}")
            if str(bits) not in map(str, WEIGHT_BITS):
                problems.append(f"width of {name} is {bits}; expected 8 or 16 bits")
            if not problems:
                for part, kind in known[name]:
                    weights.setdefault(part, {})[kind] = int(bits)
        if input_bits is not None:
            if input_bits not in INPUT_BITS:
                problems.append(f"input bits {input_bits}; expected 8 to 16")
            if isinstance(network.layers[0], Embedding):
                problems.append(
                    f"input bits {input_bits}; expected none, as the input is the number of a "
                    f"row of {network.layers[0].name}"
                )
        if problems:
            raise ModelError.of(problems)
        return cls(weights, input_bits)

    def mode(self, mode: Mode, name: str) -> Mode:
        """Return the mode of a layer, or half of one, which has a precision's mode else."""
        return replace(mode, **self.weights.get(name, {}))

    def with_input(self, network: Network, mode: Mode, bits: int | None) -> "Widths":
        """Return the widths with an input of `bits`, unless its width is chosen.

        An input wider than the precision's own meets 16-bit weights in a recurrent layer, as
        they share the product format of rule N2 with the hidden state's.
        """
        bits = bits if self.input is None else self.input
        weights, first = dict(self.weights), network.layers[0]
        wide = bits is not None and bits > max(mode.input, mode.hidden)
        if wide and not isinstance(first, Dense | Embedding):
            for half in first.halves if isinstance(first, Bidirectional) else (first,):
                weights[half.name] = {
                    "input_weights": WIDE_WEIGHTS, **weights.get(half.name, {})
                }
        return Widths(weights, bits)

    def notes(self, network: Network, own: "Widths") -> Iterator[str]:
        """Yield what was chosen, and what `own`, of `with_input`, has beyond that."""
        if chosen := ", ".join(_words(network, self)):
            yield f"widths of weights set by --width: {chosen}"
        if self.input is not None:
            yield f"width of the input set by --input-bits: {self.input} bits"
        if own.weights != self.weights:
            added = Widths({n: w for n, w in own.weights.items() if w != self.weights.get(n)})
            yield (
                f"an input of {own.input} bits, wider than the hidden state: "
                f"{', '.join(_words(network, added, 'up to '))}; kernels that want one width of "
                "both give way to others or to portable C (--input-bits 8 keeps them)"
            )


def wide_inputs(network: Network, precision: str) -> tuple[int, ...]:
    """Return the widths of the network's input that are tried beside the precision's own."""
    first = network.layers[0]
    if precision != "q7" or isinstance(first, Embedding):
        return ()
    return (16,) if isinstance(first, Dense) else (10, 12)


def _words(network: Network, widths: Widths, most: str = "") -> Iterator[str]:
    """Yield each width by its name, of halves their own."""
    for name, parts in _fields(network):
        if [name.rpartition(".")[0]] != [part for part, _ in parts]:
            continue  # both halves by one name
        for part, kind in parts:
            if kind in widths.weights.get(part, {}):
                yield f"{name} {most}{widths.weights[part][kind]} bits"


def _fields(network: Network) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Yield the names that a width can have, and what they stand for: parts and a mode's field."""
    for layer in network.layers:
        halves: tuple[Layer, ...] = ()
        if isinstance(layer, Bidirectional):
            halves = layer.halves
        for one in (layer, *halves):
            if isinstance(one, Embedding):
                continue
            if isinstance(one, Dense):
                yield f"{one.name}.W", [(one.name, "dense_weights")]
                continue
            parts = halves if one is layer and halves else (one,)
            projected = all(isinstance(p, Lstm) and p.projection is not None for p in parts)
            for letter, kind in _FIELDS.items():
                if letter != "P" or projected:
                    yield f"{one.name}.{letter}", [(part.name, kind) for part in parts]
