"""ONNX files built node by node, and their outputs by onnx's own operators.

LSTM and GRU are computed here by the formulas of ONNX's specification, since onnx's reference
knows neither both directions nor peepholes, clip or other activations.
"""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from lstmgen.errors import ModelError
from lstmgen.network import Network
from lstmgen.readers import ReadOptions, read_model
from lstmgen.reference import run

K, N, T, B = 3, 2, 6, 4
"""Units, inputs, steps and sequences of the small networks."""


def sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z))


def function(name: str, alpha: float, beta: float) -> Any:
    return {
        "Sigmoid": sigmoid,
        "Tanh": np.tanh,
        "Relu": lambda z: np.maximum(z, 0),
        "HardSigmoid": lambda z: np.clip(alpha * z + beta, 0, 1),
        "Affine": lambda z: alpha * z + beta,
    }[name]


def functions(names: list[str], alphas: list[float], betas: list[float]) -> list[Any]:
    """alpha and beta are consumed in order by the activations that take them."""
    alpha, beta, found = list(alphas), list(betas), []
    defaults = {"HardSigmoid": (0.2, 0.5), "Affine": (1.0, 0.0)}
    for name in names:
        a, b = defaults.get(name, (0.0, 0.0))
        if name in defaults:
            a, b = (alpha.pop(0) if alpha else a), (beta.pop(0) if beta else b)
        found.append(function(name, a, b))
    return found


def recurrent(
    gates: int, X: np.ndarray, W: np.ndarray, R: np.ndarray, bias: np.ndarray | None,
    lengths: np.ndarray | None, h: np.ndarray | None, c: np.ndarray | None,
    P: np.ndarray | None, attributes: dict[str, Any],
) -> tuple[np.ndarray, ...]:
    """Return Y, Y_h and Y_c of an LSTM (4 gates) or GRU (3 gates) node."""
    layout = attributes.get("layout") or 0
    if layout:
        X = X.transpose(1, 0, 2)
        h, c = (None if s is None else s.transpose(1, 0, 2) for s in (h, c))
    steps, batch, _ = X.shape
    dirs, _, k = R.shape
    bias = np.zeros((dirs, 2 * gates * k), X.dtype) if bias is None else bias
    h = np.zeros((dirs, batch, k), X.dtype) if h is None else h
    c = np.zeros((dirs, batch, k), X.dtype) if c is None else c
    P = np.zeros((dirs, 3 * k), X.dtype) if P is None else P
    lengths = np.full(batch, steps) if lengths is None else lengths
    size = gates - 1
    names = attributes.get("activations") or ["Sigmoid", "Tanh", "Tanh"][:size] * dirs
    chosen = functions(
        list(names), attributes.get("activation_alpha") or [],
        attributes.get("activation_beta") or [],
    )
    clip = attributes.get("clip") or np.inf
    Y = np.zeros((steps, dirs, batch, k), X.dtype)
    ends, cells = np.zeros_like(h), np.zeros_like(c)
    for d in range(dirs):
        backwards = d == 1 or attributes.get("direction") == "reverse"
        f = chosen[d * size : (d + 1) * size]
        for b in range(batch):
            hb, cb = h[d, b], c[d, b]
            order = range(int(lengths[b]))
            for t in reversed(order) if backwards else order:
                step = lstm_step if gates == 4 else gru_step
                hb, cb = step(X[t, b], hb, cb, W[d], R[d], bias[d], P[d], f, clip, attributes)
                Y[t, d, b] = hb
            ends[d, b], cells[d, b] = hb, cb
    if layout:
        return Y.transpose(2, 0, 1, 3), ends.transpose(1, 0, 2), cells.transpose(1, 0, 2)
    return Y, ends, cells


def lstm_step(x: Any, h: Any, c: Any, W: Any, R: Any, bias: Any, P: Any, f: Any, clip: float,
              attributes: dict[str, Any]) -> tuple[Any, Any]:
    """ONNX's order is i, o, f, c; of peepholes i, o, f."""
    k = len(h)
    z = W @ x + R @ h + bias[: 4 * k] + bias[4 * k :]
    zi, zo, zf, zc = z.reshape(4, k)
    pi, po, pf = P.reshape(3, k)
    i = f[0](np.clip(zi + pi * c, -clip, clip))
    forget = f[0](np.clip(zf + pf * c, -clip, clip))
    if attributes.get("input_forget"):
        forget = 1 - i
    new = forget * c + i * f[1](np.clip(zc, -clip, clip))
    o = f[0](np.clip(zo + po * new, -clip, clip))
    return o * f[2](new), new


def gru_step(x: Any, h: Any, c: Any, W: Any, R: Any, bias: Any, P: Any, f: Any, clip: float,
             attributes: dict[str, Any]) -> tuple[Any, Any]:
    """ONNX's order is z, r, h."""
    k = len(h)
    wz, wr, wh = (W @ x + bias[: 3 * k]).reshape(3, k)
    rb = bias[3 * k :].reshape(3, k)
    Rz, Rr, Rh = R.reshape(3, k, k)
    z = f[0](np.clip(wz + Rz @ h + rb[0], -clip, clip))
    r = f[0](np.clip(wr + Rr @ h + rb[1], -clip, clip))
    if attributes.get("linear_before_reset"):
        n = f[1](np.clip(wh + r * (Rh @ h + rb[2]), -clip, clip))
    else:
        n = f[1](np.clip(wh + Rh @ (r * h) + rb[2], -clip, clip))
    return (1 - z) * n + z * h, c


class LSTM(OpRun):  # type: ignore[misc]
    """The operator, for onnx's evaluator."""

    op_domain = ""

    def _run(self, X, W, R, B=None, lengths=None, h=None, c=None, P=None, **attributes):
        return recurrent(4, X, W, R, B, lengths, h, c, P, attributes)


class GRU(OpRun):  # type: ignore[misc]
    op_domain = ""

    def _run(self, X, W, R, B=None, lengths=None, h=None, **attributes):
        return recurrent(3, X, W, R, B, lengths, h, None, None, attributes)[:2]


class Graph:
    """Nodes and initializers collected one by one; x is (T, B, N) unless said otherwise."""

    def __init__(self, shape: list[Any] | None = None, kind: int = TensorProto.FLOAT,
                 opset: int = 17, seed: int = 3) -> None:
        self.random = np.random.default_rng(seed)
        self.opset = opset
        self.inputs = [helper.make_tensor_value_info("x", kind, shape or [T, "B", N])]
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []

    def const(self, values: Any, name: str | None = None, dtype: Any = None) -> str:
        """Add an initializer; integers become int64, floats float32 unless `dtype` is given."""
        array = np.asarray(values)
        if dtype is None:
            dtype = np.int64 if array.dtype.kind in "iu" else np.float32
        name = name or f"c{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(array.astype(dtype), name))
        return name

    def weights(self, *shape: int, scale: float = 0.6) -> np.ndarray:
        return self.random.normal(0, scale, shape).astype(np.float32)

    def add(
        self, op: str, *inputs: Any, outputs: int = 1, name: str = "", **attributes: Any
    ) -> Any:
        """Add a node; inputs that are no names become constants."""
        names = [value if isinstance(value, str) else self.const(value) for value in inputs]
        made = [f"v{len(self.nodes)}_{at}" for at in range(outputs)]
        self.nodes.append(helper.make_node(op, names, made, name=name, **attributes))
        return made[0] if outputs == 1 else made

    def cell(self, x: str = "x", inputs: int = N, *, op: str = "LSTM", dirs: int = 1,
             bias: bool = True, tail: tuple[Any, ...] = (), units: int = K,
             **attributes: Any) -> tuple[str, str]:
        """Add an LSTM or GRU; return its Y and Y_h. tail: inputs from sequence_lens on."""
        gates = 4 if op == "LSTM" else 3
        if dirs == 2:
            attributes["direction"] = "bidirectional"
        rows = gates * units
        given = [self.weights(dirs, rows, inputs), self.weights(dirs, rows, units),
                 self.weights(dirs, 2 * rows) if bias else ""]
        made = self.add(op, x, *given, *tail, outputs=3 if op == "LSTM" else 2,
                        hidden_size=units, **attributes)
        return made[0], made[1]

    def gemm(self, x: str, inputs: int, rows: int, name: str = "") -> str:
        W, b = self.weights(rows, inputs), self.weights(rows)
        return str(self.add("Gemm", x, W, b, transB=1, name=name))

    def model(self, *outputs: str) -> Any:
        infos = [helper.make_tensor_value_info(name, TensorProto.UNDEFINED, None)
                 for name in outputs]
        graph = helper.make_graph(
            self.nodes, "g", self.inputs, infos, initializer=self.initializers
        )
        return helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8
        )

    def save(self, folder: Path, *outputs: str) -> Path:
        return save(folder, self.model(*outputs))


def save(folder: Path, model: Any) -> Path:
    path = folder / "m.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def evaluated(path: Path, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Return the outputs of a file by onnx's own operators and those above."""
    model = onnx.load(path)
    return list(ReferenceEvaluator(model, new_ops=[LSTM, GRU]).run(None, inputs))


def proved(path: Path, outputs: str = "last", x: np.ndarray | None = None, axes: Any = (1, 0, 2),
           **options: Any) -> Network:
    """Return the network of a file, which has to compute what the graph does.

    axes: how x, (B, T, n), is turned into what the graph takes.
    """
    if x is None:
        x = np.random.default_rng(8).normal(size=(B, T, N)).astype(np.float32)
    network = read_model(path, ReadOptions(**options))
    wanted = evaluated(path, {"x": np.ascontiguousarray(x.transpose(axes))})[0]
    got = run(network, x).y
    assert network.outputs == outputs
    if outputs == "sequence" and axes[0] == 1:
        wanted = wanted.swapaxes(0, 1)
    np.testing.assert_allclose(got, wanted.reshape(got.shape), rtol=0, atol=2e-6)
    return network


def refused(path: Path, *messages: str, **options: Any) -> list[str]:
    with pytest.raises(ModelError) as caught:
        read_model(path, ReadOptions(**options))
    text = str(caught.value)
    assert all(message in text for message in messages), text
    lines = text.splitlines()
    assert all(line.startswith(str(path)) for line in lines), text
    return lines


def seed_files(folder: Path) -> dict[str, Path]:
    """Write small valid files and return them by format and variant."""
    made = {}

    def keep(name: str, g: Graph, *outputs: str) -> None:
        path = folder / f"{name}.onnx"
        path.write_bytes(g.model(*outputs).SerializeToString())
        made[f"onnx/{name}"] = path

    g = Graph()
    y = g.add("Gather", g.add("Squeeze", g.cell()[0], [1]), -1, axis=0)
    keep("lstm", g, str(g.add("Softmax", g.gemm(y, K, 5), axis=-1)))

    g = Graph(["B", T, N])
    y = g.cell(g.add("Transpose", "x", perm=[1, 0, 2]), op="GRU", linear_before_reset=1)[0]
    y = g.add("Transpose", g.add("Squeeze", y, [1]), perm=[1, 0, 2])
    y = g.add("Relu", g.add("Add", g.add("MatMul", y, g.weights(K, 4)), g.weights(4)))
    keep("gru", g, str(g.add("Gather", y, -1, axis=1)))

    g = Graph()
    y = g.add("Transpose", g.cell(dirs=2)[0], perm=[0, 2, 1, 3])
    y = g.add("Reshape", y, [0, 0, -1])
    keep("bidirectional", g, g.gemm(g.add("Gather", y, -1, axis=0), 2 * K, 2))

    g = Graph()
    shape = g.add("Shape", "x")
    batch = g.add("Unsqueeze", g.add("Gather", shape, 1, axis=0), [0])
    start = g.add("Expand", np.zeros((1, 1, 1)), g.add("Concat", [1], batch, [K], axis=0))
    peepholes = g.weights(1, 3 * K)
    scaled = g.add("Mul", g.add("Sub", "x", g.weights(N)), np.float32(0.5))
    y = g.cell(str(scaled), tail=("", start, start, peepholes), clip=2.0)[1]
    keep("states", g, g.gemm(g.add("Squeeze", y, [0]), K, 2))
    return made
