"""Small seeded networks of every variant; each trained-like enough to have an SQNR floor."""

import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from lstmgen.layers import Bidirectional, Dense, Embedding, Gru, Layer, Lstm
from lstmgen.network import Network

from builders import dense
from conftest import ROOT


def lstm(
    inputs: int, units: int, *, width: int | None = None, name: str = "lstm0", **options
) -> Lstm:
    """An LSTM of Xavier-like weights; width: of a projection."""
    r = np.random.default_rng([inputs, units, len(name)])
    p = width or units
    layer = Lstm(
        name,
        r.normal(0, 0.6, (4 * units, inputs)),
        r.normal(0, 0.8 / p**0.5, (4 * units, p)),
        r.normal(0, 0.3, 4 * units),
        **options,
    )
    if width is None:
        return layer
    return replace(layer, projection=r.normal(0, 1 / units**0.5, (width, units)))


def gru(inputs: int, units: int, *, name: str = "gru0", reset_after: bool = True, **options) -> Gru:
    r = np.random.default_rng([inputs, units, len(name), 2])
    return Gru(
        name,
        r.normal(0, 0.6, (3 * units, inputs)),
        r.normal(0, 0.8 / units**0.5, (3 * units, units)),
        r.normal(0, 0.3, 3 * units),
        r.normal(0, 0.3, units) if reset_after else np.zeros(units),
        reset_after,
        **options,
    )


def both_ways(
    make, inputs: int, units: int, merge="concat", ends="state", **options
) -> Bidirectional:
    halves = (make(inputs, units, name=f"both_{way}", **options) for way in ("fw", "bw"))
    return Bidirectional("both", *halves, merge, ends)


def peepholes(units: int, size: float = 0.4) -> np.ndarray:
    return np.random.default_rng([units, 3]).normal(0, size, (3, units))


def net(*layers: Layer, **options) -> Network:
    width = layers[-1].width
    return Network.of(*layers, dense(width, 3, name="head"), **{"name": "variant", **options})


def _skip() -> Network:
    layer = lstm(2, 6)
    r = np.random.default_rng(8)
    head = Dense("head", r.normal(0, 0.6, (2, 6)), r.normal(0, 0.1, 2), skip=np.eye(2))
    return Network.of(layer, head, outputs="sequence", name="variant")


def _embedding() -> Network:
    table = np.random.default_rng(4).normal(0, 0.7, (11, 5))
    return net(Embedding("words", table), lstm(5, 6))


VARIANTS: dict[str, Callable[[], Network]] = {
    "peephole": lambda: net(lstm(3, 7, peephole=peepholes(7)), outputs="sequence"),
    "peephole_large": lambda: net(lstm(3, 5, peephole=peepholes(5, 2.5))),
    "projection": lambda: net(lstm(3, 8, width=3)),
    "projection_peephole": lambda: net(
        lstm(4, 7, width=4, peephole=peepholes(7)), lstm(4, 5, width=2, name="lstm1")
    ),
    "hard_sigmoid": lambda: net(lstm(3, 6, gate="hard_sigmoid")),
    "hard_sigmoid_6": lambda: net(lstm(3, 6, gate="hard_sigmoid_6"), outputs="sequence"),
    "relu": lambda: net(lstm(3, 6, cell="relu", output="relu")),
    "linear_output": lambda: net(lstm(3, 6, output="linear")),
    "linear_cell": lambda: net(lstm(3, 6, cell="linear"), outputs="sequence"),
    "sigmoid_cell": lambda: net(lstm(3, 6, cell="sigmoid", output="sigmoid")),
    "clip": lambda: net(lstm(3, 6, clip=0.75)),
    "clip_peephole": lambda: net(lstm(3, 6, clip=0.9, peephole=peepholes(6))),
    "cell_clip": lambda: net(lstm(3, 6, cell_clip=0.6), outputs="sequence"),
    "initial_state": lambda: net(
        lstm(3, 6, width=4, h0=np.linspace(-0.5, 0.5, 4), c0=np.linspace(-2, 2, 6))
    ),
    "gru": lambda: net(gru(3, 7), outputs="sequence"),
    "gru_reset_before": lambda: net(gru(3, 7, reset_after=False)),
    "gru_stacked": lambda: net(gru(3, 6), gru(6, 5, name="gru1", h0=np.linspace(-0.9, 0.9, 5))),
    "gru_hard_sigmoid": lambda: net(gru(3, 6, gate="hard_sigmoid", clip=1.5)),
    "gru_relu": lambda: net(gru(3, 5, cell="relu", reset_after=False)),
    "gru_then_lstm": lambda: net(gru(3, 5), lstm(5, 6)),
    "skip": _skip,
    "embedding": _embedding,
    "reverse": lambda: net(lstm(3, 6, direction="reverse")),
    "reverse_sequence": lambda: net(lstm(3, 6, direction="reverse"), outputs="sequence"),
    "flipped": lambda: net(lstm(3, 6, direction="flipped"), lstm(6, 5, name="lstm1")),
    "bidirectional": lambda: net(both_ways(lstm, 3, 6)),
    "bidirectional_sequence": lambda: net(both_ways(lstm, 3, 5), outputs="sequence"),
    "bidirectional_step": lambda: net(both_ways(lstm, 3, 5, ends="step")),
    "bidirectional_bare": lambda: Network.of(both_ways(lstm, 3, 6), name="variant"),
    "reverse_bare": lambda: Network.of(lstm(3, 6, direction="reverse"), name="variant"),
    "bidirectional_mixed": lambda: net(
        Bidirectional("both", lstm(3, 5, cell="linear", name="fw"), gru(3, 4, name="bw"))
    ),
    "bidirectional_sum": lambda: net(both_ways(lstm, 3, 6, "sum")),
    "bidirectional_average": lambda: net(both_ways(gru, 3, 6, "average")),
    "bidirectional_multiply": lambda: net(both_ways(lstm, 3, 6, "multiply"), outputs="sequence"),
    "bidirectional_stacked": lambda: net(
        dense(4, 5, "relu", name="pre"),
        both_ways(lstm, 5, 4),
        dense(8, 3, "tanh", name="between"),
        Bidirectional("more", gru(3, 5, name="more_f"), lstm(3, 5, name="more_b")),
    ),
    "bidirectional_embedding": lambda: net(
        Embedding("words", np.random.default_rng(5).normal(0, 0.7, (9, 4))),
        both_ways(lstm, 4, 5, peephole=peepholes(5)),
        outputs="sequence",
    ),
}


def inputs_of(network: Network, sequences: int = 8, steps: int = 14) -> np.ndarray:
    """Real inputs (B, T, n): noise, or the rows of an embedding."""
    r = np.random.default_rng(len(network.layers))
    first = network.layers[0]
    if isinstance(first, Embedding):
        return r.integers(0, first.entries, (sequences, steps, 1)).astype(np.float64)
    return r.normal(0, 0.7, (sequences, steps, network.inputs))


def floors() -> dict[str, dict[str, float]]:
    """The least SQNR in dB of each variant in each precision, as docs/formats.md has it."""
    text = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| `\[.+\]` \| (\d+) \| (\d+) \| (\d+) \|$", text, re.MULTILINE)
    return {
        name: dict(zip(("q15", "w8a16", "q7"), map(float, figures), strict=True))
        for name, *figures in rows
    }
