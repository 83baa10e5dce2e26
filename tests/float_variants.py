"""Small seeded float networks, one for each variant of a layer that `lstmgen.layers` knows."""

from dataclasses import replace
from typing import Any, get_args

import numpy as np

from lstmgen.layers import (
    Bidirectional,
    CellFunction,
    Dense,
    Direction,
    Embedding,
    Ends,
    GateFunction,
    Gru,
    Layer,
    Lstm,
    Merge,
    Recurrent,
)
from lstmgen.network import Network
from lstmgen.qformat import FloatArray

INPUTS = 3
ENTRIES = 6


def lstm(inputs: int = INPUTS, units: int = 4, name: str = "l", **choices: Any) -> Lstm:
    """An LSTM of random weights; projection: the width handed on, or an array."""
    r = np.random.default_rng([inputs, units, *name.encode()])
    width = choices.pop("projected", units)
    if width != units:
        choices["projection"] = r.normal(0, 0.6, (width, units))
    return Lstm(
        name,
        r.normal(0, 0.7, (4 * units, inputs)),
        r.normal(0, 0.7, (4 * units, width)),
        r.normal(0, 0.5, 4 * units),
        **choices,
    )


def gru(inputs: int = INPUTS, units: int = 4, name: str = "g", **choices: Any) -> Gru:
    """A GRU of random weights."""
    r = np.random.default_rng([inputs, units, *name.encode()])
    b_u = r.normal(0, 0.5, units) if choices.get("reset_after", True) else np.zeros(units)
    return Gru(
        name,
        r.normal(0, 0.7, (3 * units, inputs)),
        r.normal(0, 0.7, (3 * units, units)),
        r.normal(0, 0.5, 3 * units),
        b_u,
        **choices,
    )


def dense(inputs: int, rows: int, name: str = "d", **choices: Any) -> Dense:
    """A dense layer of random weights; skip: True for random ones from the network's input."""
    r = np.random.default_rng([inputs, rows, *name.encode()])
    if choices.get("skip") is True:
        choices["skip"] = r.normal(0, 0.6, (rows, INPUTS))
    return Dense(name, r.normal(0, 0.7, (rows, inputs)), r.normal(0, 0.4, rows), **choices)


def both_ways(forward: Recurrent, backward: Recurrent, **choices: Any) -> Bidirectional:
    """Both halves as one layer called `both`."""
    halves = replace(forward, name="both_forward"), replace(backward, name="both_backward")
    return Bidirectional("both", *halves, **choices)


def embedding(width: int = INPUTS) -> Embedding:
    """A table of random rows."""
    return Embedding("table", np.random.default_rng(width).normal(size=(ENTRIES, width)))


def _vector(seed: int, *shape: int) -> FloatArray:
    return np.random.default_rng(seed).normal(0, 0.6, shape)


def _layers() -> dict[str, tuple[Layer, ...]]:
    found: dict[str, tuple[Layer, ...]] = {
        "lstm": (lstm(),),
        "lstm h0 and c0": (lstm(h0=_vector(1, 4), c0=_vector(2, 4)),),
        "lstm peepholes": (lstm(peephole=_vector(3, 3, 4)),),
        "lstm projection": (lstm(projected=2), dense(2, 3)),
        "lstm projection h0": (lstm(projected=2, h0=_vector(1, 2), c0=_vector(2, 4)),),
        "lstm clip": (lstm(clip=0.4),),
        "lstm clip and peepholes": (lstm(clip=0.4, peephole=_vector(3, 3, 4)),),
        "lstm cell clip": (lstm(cell_clip=0.25, peephole=_vector(3, 3, 4)),),
        "lstm everything": (
            lstm(projected=3, h0=_vector(1, 3), c0=_vector(2, 4), peephole=_vector(3, 3, 4),
                 gate="hard_sigmoid", cell="relu", output="linear", clip=1.5, cell_clip=0.75,
                 direction="reverse"),
        ),
        "gru": (gru(),),
        "gru reset before": (gru(reset_after=False),),
        "gru h0": (gru(h0=_vector(1, 4)),),
        "gru clip": (gru(clip=0.4),),
        "gru reset before clip": (gru(reset_after=False, clip=0.4),),
        "lstm behind gru": (gru(), lstm(4, 3)),
        "embedding": (embedding(), lstm(), dense(4, 2, activation="softmax")),
        "embedding gru": (embedding(5), gru(5)),
        "dense skip": (lstm(), dense(4, 3, skip=True)),
        "dense skip tanh": (dense(3, 5, "pre"), lstm(5), dense(4, 2, skip=True, activation="tanh")),
        "reverse behind forward": (lstm(), lstm(4, 3, "r", direction="reverse"), dense(3, 2)),
        "flipped before forward": (lstm(direction="flipped"), lstm(4, 3, "r"), dense(3, 2)),
        "flipped before reverse": (gru(direction="flipped"), lstm(4, 3, direction="reverse")),
        "both ways of two kinds": (both_ways(lstm(units=2), gru(units=5)), dense(7, 2)),
        "both ways stacked": (
            both_ways(lstm(units=3), lstm(units=3, name="b")),
            replace(lstm(6, 3), name="above"),
        ),
        "both ways above": (
            lstm(),
            both_ways(lstm(4, 3, h0=_vector(1, 3)), lstm(4, 3, "b", peephole=_vector(3, 3, 3))),
            dense(6, 3, skip=True),
        ),
    }
    for gate in get_args(GateFunction):
        found[f"lstm gates {gate}"] = (lstm(gate=gate),)
        found[f"gru gates {gate}"] = (gru(gate=gate),)
    for cell in get_args(CellFunction):
        found[f"lstm cell {cell}"] = (lstm(cell=cell),)
        found[f"lstm output {cell}"] = (lstm(output=cell),)
        found[f"gru cell {cell}"] = (gru(cell=cell),)
    for direction in get_args(Direction):
        found[f"lstm {direction}"] = (lstm(direction=direction), dense(4, 2))
        found[f"gru {direction}"] = (gru(direction=direction),)
    for merge in get_args(Merge):
        for ends in get_args(Ends):
            pair = both_ways(lstm(), lstm(name="b"), merge=merge, ends=ends)
            found[f"both ways {merge} {ends}"] = (pair, dense(pair.width, 2))
        pair = both_ways(gru(), gru(name="b", reset_after=False), merge=merge)
        found[f"both ways gru {merge}"] = (pair,)
    return found


LAYERS = _layers()
"""The layers of each variant by its name."""


def network(variant: str, outputs: Any = "sequence", **options: Any) -> Network:
    """Return the network of a variant."""
    return Network(LAYERS[variant], outputs=outputs, **options)


def inputs(of: Network, sequences: int = 3, steps: int = 6, seed: int = 0) -> FloatArray:
    """Return inputs (B, T, n) that a network takes: indices for an embedding."""
    r = np.random.default_rng(seed)
    if isinstance(of.layers[0], Embedding):
        return r.integers(0, ENTRIES, (sequences, steps, 1)).astype(float)
    return r.normal(0, 1, (sequences, steps, of.inputs))
