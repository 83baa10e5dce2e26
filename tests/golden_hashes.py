"""Hashes of artefacts and of generated files, for any Python, numpy and processor to agree on.

    PYTHONPATH=. python tests/golden_hashes.py     # prints them as JSON, with numpy's version

Three small networks in each precision, all that a quantizer may choose left to it. They are drawn
with Python's own generator: numpy does not promise equal numbers in all versions.
`tools/reproducible.py` runs this in many environments, `test_golden.py` in the one at hand.
"""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np

from lstmgen import artefact, reference
from lstmgen.codegen import generate
from lstmgen.layers import Bidirectional, Dense, Gru, Lstm
from lstmgen.network import Network
from lstmgen.quantized import Precision
from lstmgen.quantizer import quantize
from lstmgen.selftest import make_selftest
from lstmgen.target import load_target

FILE = Path(__file__).resolve().parent / "golden" / "hashes.json"
PRECISIONS: tuple[Precision, ...] = ("q15", "w8a16", "q7")
TARGETS = ("arm", "host")


def drawn(r: Random, *shape: int, size: float = 0.6) -> np.ndarray:
    """Return values of a bell-like distribution with about that deviation."""
    count = int(np.prod(shape))
    values = [sum(r.random() for _ in range(4)) - 2.0 for _ in range(count)]
    return np.array(values).reshape(shape) * (1.75 * size)


def lstm(r: Random, inputs: int, units: int, name: str) -> Lstm:
    rows = 4 * units
    return Lstm(name, drawn(r, rows, inputs), drawn(r, rows, units, size=0.3), drawn(r, rows))


def gru(r: Random, inputs: int, units: int, name: str) -> Gru:
    rows = 3 * units
    weights = drawn(r, rows, inputs), drawn(r, rows, units, size=0.3), drawn(r, rows)
    return Gru(name, *weights, drawn(r, units), True)


def dense(r: Random, inputs: int, rows: int, activation: str, name: str) -> Dense:
    return Dense(name, drawn(r, rows, inputs), drawn(r, rows), activation)  # type: ignore[arg-type]


def stacked() -> tuple[Network, np.ndarray]:
    """Two LSTM layers, and dense ones that are refitted."""
    r = Random(1)
    network = Network.of(
        lstm(r, 4, 8, "lstm0"), lstm(r, 8, 5, "lstm1"), dense(r, 5, 6, "relu", "hidden"),
        dense(r, 6, 4, "softmax", "head"), name="stacked",
    )
    return network, drawn(r, 12, 16, 4)


def sensors() -> tuple[Network, np.ndarray]:
    """Features of different size, one of them far from 0: formats of their own (rule N1)."""
    r = Random(2)
    size, middle = np.array([1.0, 0.02, 6.0]), np.array([0.0, 0.1, 40.0])
    first = lstm(r, 3, 6, "lstm0")
    W = first.W / size
    network = Network.of(
        Lstm("lstm0", W, first.U, first.b - W @ middle), dense(r, 6, 2, "linear", "head"),
        outputs="sequence", name="sensors",
    )
    return network, drawn(r, 12, 16, 3) * size + middle


def both() -> tuple[Network, np.ndarray]:
    """A GRU beside an LSTM, and tables of several functions."""
    r = Random(3)
    layer = Bidirectional("both", gru(r, 5, 4, "forth"), lstm(r, 5, 4, "back"))
    network = Network.of(
        dense(r, 3, 5, "tanh", "pre"), layer, dense(r, 8, 3, "sigmoid", "head"), name="both",
    )
    return network, drawn(r, 12, 12, 3)


NETWORKS: dict[str, Callable[[], tuple[Network, np.ndarray]]] = {
    made.__name__: made for made in (stacked, sensors, both)
}


def hashes(name: str, precision: Precision) -> dict[str, str]:
    """Return the SHA-256 of the artefact, and by target of all files, names and bytes."""
    network, x = NETWORKS[name]()
    q = quantize(network, precision, x)
    if name == "sensors":
        assert q.scaling is not None, "inputs of different size got one format"
    found = {"artefact": hashlib.sha256(artefact.to_bytes(q)).hexdigest()}
    made = make_selftest(q)
    for target in TARGETS:
        files = generate(q, name=name, target=load_target(target), selftest=made)
        whole = hashlib.sha256()
        for file, text in sorted(files.items()):
            whole.update(f"{file}\n{len(text)}\n{text}".encode())
        found[target] = whole.hexdigest()
    return found


def every_hash() -> dict[str, dict[str, str]]:
    """Return the hashes of each network in each precision."""
    return {f"{name}/{p}": hashes(name, p) for name in NETWORKS for p in PRECISIONS}


def floats() -> str:
    """Return a hash of what the float networks give: this does differ, in the last bits."""
    whole = hashlib.sha256()
    for made in NETWORKS.values():
        network, x = made()
        whole.update(reference.run(network, x).y.tobytes())
    return whole.hexdigest()[:8]


if __name__ == "__main__":
    found = {"numpy": np.__version__, "floats": floats(), "hashes": every_hash()}
    print(json.dumps(found, indent=1))
