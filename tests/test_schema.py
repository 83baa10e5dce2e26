"""lstmgen.schema: networks saved and read back, and every way a description can be wrong."""

import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lstmgen import network as limits
from lstmgen.errors import ModelError
from lstmgen.layers import Bidirectional
from lstmgen.network import Dense, Lstm, Network, arrays_of
from lstmgen.npz import read_npz
from lstmgen.readers import read_model
from lstmgen.reference import run
from lstmgen.schema import read_schema, save_network

import float_variants as variants


def lstm(name: str, inputs: int, units: int, seed: int = 1, state: bool = False) -> Lstm:
    rng = np.random.default_rng(seed)
    W, U, b = (rng.normal(size=(4 * units, n)) for n in (inputs, units, 1))
    extra = {key: rng.normal(size=units) for key in ("h0", "c0")} if state else {}
    return Lstm(name, W, U, b[:, 0], **extra)


def dense(name: str, inputs: int, rows: int, activation: Any = "linear") -> Dense:
    rng = np.random.default_rng(7)
    return Dense(name, rng.normal(size=(rows, inputs)), rng.normal(size=rows), activation)


def sample() -> Network:
    return Network.of(
        dense("pre.net", 3, 4, "relu"),
        lstm("first", 4, 5, state=True),
        dense("mid", 5, 2, "tanh"),
        lstm("second", 2, 3),
        dense("out", 3, 4, "softmax"),
        outputs="sequence",
        input_range=(-1.25, 3.0),
        name="sample",
    )


def description(*layers: object, **top: object) -> dict[str, object]:
    entries = layers or ({"type": "lstm", "name": "l"}, {"type": "dense", "name": "d"})
    return {"schema": 1, "layers": list(entries), **top}


def arrays(of: object, **changed: object) -> dict[str, np.ndarray]:
    """Return the arrays of an LSTM `l` of 2 units over 3 inputs and a dense layer `d`."""
    values: dict[str, Any] = {
        "lstmgen": np.array(of if isinstance(of, str) else json.dumps(of)),
        "l.W": np.ones((8, 3)),
        "l.U": np.ones((8, 2)),
        "l.b": np.ones(8),
        "d.W": np.ones((4, 2)),
        "d.b": np.ones(4),
    }
    values.update({key.replace("__", "."): value for key, value in changed.items()})
    return {key: value for key, value in values.items() if value is not None}


def problems(values: Mapping[str, np.ndarray]) -> list[str]:
    with pytest.raises(ModelError) as caught:
        read_schema(values, "m.npz")
    lines = str(caught.value).splitlines()
    assert all(line.startswith("m.npz") for line in lines)
    return lines


def test_a_network_survives_exactly(tmp_path: Path) -> None:
    network = sample()
    network.save(tmp_path / "m.npz")
    read = read_model(tmp_path / "m.npz")
    assert (read.name, read.outputs, read.input_range) == ("sample", "sequence", (-1.25, 3.0))
    for before, after in zip(network.layers, read.layers, strict=True):
        assert type(before) is type(after)
        assert before.name == after.name
        if isinstance(before, Dense) and isinstance(after, Dense):
            assert before.activation == after.activation
        assert list(arrays_of(before)) == list(arrays_of(after))
        for key, array in arrays_of(before).items():
            np.testing.assert_array_equal(arrays_of(after)[key], array, strict=True)
    x = np.random.default_rng(3).normal(size=(2, 5, 3))
    np.testing.assert_array_equal(run(read, x).y, run(network, x).y)


def test_the_same_network_gives_the_same_bytes(tmp_path: Path) -> None:
    save_network(sample(), tmp_path / "a.npz")
    read_model(tmp_path / "a.npz").save(tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_single_precision_weights_stay_small(tmp_path: Path) -> None:
    layer = lstm("l", 2, 2)
    single = Lstm("l", *(a.astype(np.float32).astype(float) for a in (layer.W, layer.U, layer.b)))
    large = Lstm("g", layer.W * 1e300, layer.U * 1e-300, layer.b)
    Network.of(single, large).save(tmp_path / "m.npz")
    stored = read_npz(tmp_path / "m.npz")
    assert {stored[f"l.{key}"].dtype for key in "WUb"} == {np.dtype(np.float32)}
    assert {stored[f"g.{key}"].dtype for key in "WUb"} == {np.dtype(np.float64)}
    read = read_model(tmp_path / "m.npz").lstms[1]
    np.testing.assert_array_equal(read.U, large.U)
    np.testing.assert_array_equal(read.W, large.W)


@pytest.mark.parametrize("bad", ["x" * 65, "x" * 256])
def test_names_that_cannot_be_saved(tmp_path: Path, bad: str) -> None:
    message = r"cannot be saved as a name; expected a name of 1 to 64 printable"
    with pytest.raises(ModelError, match=message):
        Network.of(lstm(bad, 1, 1)).save(tmp_path / "m.npz")
    with pytest.raises(ModelError, match=message):
        Network.of(lstm("l", 1, 1), name=bad).save(tmp_path / "m.npz")
    assert not list(tmp_path.iterdir())


def test_what_may_be_left_out() -> None:
    network = read_schema(arrays(description()), "m.npz")
    assert (network.name, network.outputs, network.input_range) == ("model", "last", None)
    assert network.activation == "linear"
    assert network.notes == ("lstmgen's own schema 1; gate order i, f, g, o",)


def test_data_beside_the_weights_is_named() -> None:
    network = read_schema(arrays(description(), x=np.zeros(2), label=np.zeros(2)), "m.npz")
    assert network.notes[-1] == "arrays that are no weights, ignored: x, label"


@pytest.mark.parametrize("order", ["iofc", "ogfi", "ifco", "figo"])
def test_other_gate_orders_are_reordered(order: str) -> None:
    wanted = lstm("l", 3, 2)
    places = ["ifgo".index("g" if gate == "c" else gate) for gate in order]

    def turned(array: np.ndarray) -> np.ndarray:
        return np.concatenate([np.split(array, 4)[place] for place in places])

    given = description({"type": "lstm", "name": "l", "gates": order}, name="n")
    values = {f"l.{key}": turned(array) for key, array in arrays_of(wanted).items()}
    read = read_schema({"lstmgen": np.array(json.dumps(given)), **values}, "m.npz")
    for key, array in arrays_of(read.lstms[0]).items():
        np.testing.assert_array_equal(array, arrays_of(wanted)[key])
    assert f"l: gate order {', '.join(order)}, reordered to i, f, g, o" in read.notes


@pytest.mark.parametrize("order", ["ifgg", "ifg", "izho", "", "gc fio", 3, None, ["i"]])
def test_unknown_gate_orders_are_refused(order: object) -> None:
    given = description({"type": "lstm", "name": "l", "gates": order})
    lines = problems(arrays(given, d__W=None, d__b=None))
    assert "an unknown gate order; expected an order of i, f, g (or c), o" in lines[0]


L = {"type": "lstm", "name": "l"}
D = {"type": "dense", "name": "d"}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("{", r"the description is no JSON \("),
        ("[" * 40_000, r"the description is no JSON \("),
        ("[1]", r"the description is no JSON object; see docs/model-npz\.md"),
        ("{}", r"schema is None; this lstmgen reads schema 1; update lstmgen"),
        ({"schema": 2}, r"schema is 2; this lstmgen reads schema 1"),
        ({"schema": True}, r"schema is True; this lstmgen reads schema 1"),
        (" " * 70_000, r"the description has 70000 characters; expected at most 65536"),
        ({"schema": 1}, r"the description lists no layers; expected at least one LSTM layer"),
        ({"schema": 1, "layers": []}, r"the description lists no layers"),
        ({"schema": 1, "layers": 3}, r"the description lists no layers"),
        (
            description(L, D, colour=1),
            r"key 'colour' is unknown; a description has schema, name, outputs, input_range, lay",
        ),
        (description(L, D, name="a\nb"), r"name is 'a\\nb'; expected a name of 1 to 64 printable"),
        (description(L, D, name=3), r"name is 3; expected a name"),
        (description(L, D, outputs="all"), r"outputs is 'all'; expected 'last' or 'sequence'"),
        (description(L, D, outputs=[]), r"outputs is \[\]; expected 'last' or 'sequence'"),
        (description(L, D, input_range=[1]), r"input_range is \[1\]; expected two finite numbers"),
        (description(L, D, input_range=[2, 1]), r"input_range is \[2, 1\]; expected two"),
        (description(L, D, input_range=[0, 10**400]), r"input_range is \[0, 1000.*\.\.\.; exp"),
        (description(L, D, input_range=[0, float("nan")]), r"input_range is \[0, nan\]; exp"),
        (description(L, D, 5), r"layer 2 of the description: it is 5; expected an object with"),
        (description(L, D, {"name": "g"}), r"layer 2 .*: type is None; expected one of lstm, gru"),
        (description(L, D, {"type": "rnn", "name": "g"}), r"type is 'rnn'; expected one of lstm,"),
        (description(L, D, {"type": ["lstm"], "name": "g"}), r"type is \['lstm'\]; expected"),
        (description(L, D, {"type": "lstm"}), r"layer 2 of the description: name is None; expec"),
        (
            description({**L, "activation": "tanh"}, D),
            r"key 'activation' is unknown; a lstm layer has type, name, gates",
        ),
        (description(L, {**D, "activation": 3}), r"activation is 3; expected a name such as"),
        (description(L, {**D, "activation": "selu"}), r"d: activation 'selu' is unknown; expected"),
        (description({**L, "gate": 3}, D), r"gate is 3; expected a name such as 'relu'"),
        (description({**L, "gate": "tanh"}, D), r"l: gate 'tanh' is unknown; expected one of sig"),
        (description({**L, "cell": "gelu"}, D), r"l: cell 'gelu' is unknown; expected one of tan"),
        (description({**L, "output": "x"}, D), r"l: output 'x' is unknown; expected one of tanh"),
        (description({**L, "direction": "up"}, D), r"l: direction 'up' is unknown; expected one"),
        (description({**L, "clip": "3"}, D), r"clip is '3'; expected a number, or no such key"),
        (description({**L, "clip": None}, D), r"clip is None; expected a number, or no such key"),
        (description({**L, "clip": True}, D), r"clip is True; expected a number"),
        (description({**L, "clip": 10**400}, D), r"clip is 1000.*; expected a number"),
        (description({**L, "clip": 0}, D), r"l: clip is 0.0; expected a finite number above 0"),
        (description({**L, "cell_clip": -1}, D), r"l: cell_clip is -1.0; expected a finite"),
        (description({**L, "reset_after": True}, D), r"key 'reset_after' is unknown; a lstm lay"),
        (description(D), r"array 'l\.W' belongs to no layer of the description; leave it out"),
        (description(L, D, L), r"2 layers are called 'l'; expected one"),
    ],
)
def test_descriptions_that_are_wrong(given: object, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        read_schema(arrays(given), "m.npz")
    problems(arrays(given))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"lstmgen": None}, r"m\.npz has no array 'lstmgen'; expected the JSON description in it"),
        (
            {"lstmgen": np.zeros(3)},
            r"array 'lstmgen' is float64 of shape \(3,\); expected the JSON",
        ),
        ({"l__U": None}, r"array 'l\.U' is missing; expected W, U, b for each lstm layer"),
        ({"d__b": None}, r"array 'd\.b' is missing; expected W, b for each dense layer"),
        ({"extra": np.zeros(1)}, r"array 'extra' belongs to no layer of the description; leave"),
        ({"d__U": np.zeros(1)}, r"array 'd\.U' belongs to no layer"),
        ({"l__W": np.full((8, 3), np.nan)}, r"l\.W holds 24 values that are NaN or infinite; exp"),
        ({"d__b": np.array([0, 0, 0, np.inf])}, r"d\.b holds 1 values that are NaN or infinite"),
        ({"l__b": np.array(["a"] * 8)}, r"l\.b holds values of type <U1; expected numbers"),
        ({"l__W": np.ones((9, 3))}, r"l\.W is \(9, 3\); expected \(8, 3\), since l\.U has 2 units"),
        ({"l__U": np.ones((8, 3))}, r"l\.U is \(8, 3\); expected \(4k, k\) for k >= 1 units"),
        ({"l__U": np.ones(8)}, r"l\.U is \(8,\); expected \(4k, k\)"),
        ({"l__b": np.ones((8, 1))}, r"l\.b is \(8, 1\); expected \(8,\)"),
        ({"l__h0": np.ones(3)}, r"l\.h0 is \(3,\); expected \(2,\), since l\.U has 2 units"),
        ({"d__W": np.ones(4)}, r"d\.W is \(4,\); expected \(outputs, inputs\)"),
        ({"d__W": np.ones((4, 5))}, r"d\.W takes 5 inputs; expected 2, the width of l"),
        (
            {"l__W": np.ones((8, limits.MAX_WIDTH + 1))},
            r"l: 4097 inputs, 2 outputs; expected at most 4096 each",
        ),
        (
            {"d__W": np.zeros(limits.MAX_WEIGHTS + 1, np.int8)},
            r"d\.W holds 16777217 values; expected at most 16777216",
        ),
    ],
)
def test_arrays_that_are_wrong(changed: dict[str, object], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        read_schema(arrays(description(), **changed), "m.npz")
    problems(arrays(description(), **changed))


def test_a_long_chain_of_problems_names_each_once() -> None:
    given = description(
        L,
        {"type": "gru", "name": "g", "reset_after": 1, "gates": "rz"},
        {"type": "bidirectional", "name": "b", "merge": 2, "forward": 3},
        {"type": "bidirectional", "name": "c", "forward": {"type": "dense"},
         "backward": {"type": "lstm", "name": "x", "clip": "2", "direction": "reverse"}},
    )
    assert problems(arrays(given, d__W=None, d__b=None)) == [
        f"m.npz: layer {number} of the description: {line}"
        for number, line in [
            (1, "gates is 'rz', an unknown gate order; expected an order of r, z, n (or h) "
                "such as 'rzn'"),
            (1, "reset_after is 1; expected true or false"),
            (2, "merge is 2; expected a name such as 'relu'"),
            (2, "forward is 3; expected an object with type lstm or gru"),
            (2, "backward is missing; expected an object with type lstm or gru"),
            (3, "forward: type is 'dense'; expected 'lstm' or 'gru'"),
            (3, "backward: key 'name' is unknown; a lstm half has type, gates, gate, cell, clip, "
                "output, cell_clip"),
            (3, "backward: key 'direction' is unknown; a lstm half has type, gates, gate, cell, "
                "clip, output, cell_clip"),
            (3, "backward: clip is '2'; expected a number, or no such key"),
        ]
    ]


def saved(network: Network, tmp_path: Path) -> dict[str, np.ndarray]:
    network.save(tmp_path / "saved.npz")
    return read_npz(tmp_path / "saved.npz")


@pytest.mark.parametrize("outputs", ["last", "sequence"])
@pytest.mark.parametrize("variant", variants.LAYERS)
def test_every_variant_survives_exactly(tmp_path: Path, variant: str, outputs: str) -> None:
    network = variants.network(variant, outputs)
    network.save(tmp_path / "a.npz")
    read = read_model(tmp_path / "a.npz")
    read.save(tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    for before, after in zip(network.layers, read.layers, strict=True):
        assert_same(before, after)
    x = variants.inputs(network)
    np.testing.assert_array_equal(run(read, x).y, run(network, x).y)


def assert_same(before: object, after: object) -> None:
    """Compare two layers field by field, halves too."""
    assert type(before) is type(after)
    for field in fields(before):  # type: ignore[arg-type]
        one, other = getattr(before, field.name), getattr(after, field.name)
        if isinstance(one, np.ndarray):
            np.testing.assert_array_equal(one, other, strict=True)
        elif is_dataclass(one):
            assert_same(one, other)
        else:
            assert (type(one), one) == (type(other), other), field.name


def test_defaults_are_not_written(tmp_path: Path) -> None:
    stored = saved(variants.network("both ways concat state"), tmp_path)
    assert json.loads(str(stored["lstmgen"]))["layers"] == [
        {"type": "bidirectional", "name": "both", "merge": "concat", "ends": "state",
         "forward": {"type": "lstm"}, "backward": {"type": "lstm"}},
        {"type": "dense", "name": "d", "activation": "linear"},
    ]
    assert list(stored)[1:4] == ["both_forward.W", "both_forward.U", "both_forward.b"]
    described = json.loads(str(saved(variants.network("lstm everything"), tmp_path)["lstmgen"]))
    assert described["layers"] == [
        {"type": "lstm", "name": "l", "gate": "hard_sigmoid", "cell": "relu", "output": "linear",
         "clip": 1.5, "cell_clip": 0.75, "direction": "reverse"}
    ]


def test_halves_of_other_names_cannot_be_saved(tmp_path: Path) -> None:
    pair = variants.both_ways(variants.lstm(), variants.lstm(name="b"))
    network = Network.of(replace(pair, backward=replace(pair.backward, name="other")))
    with pytest.raises(ModelError, match=r"both: the backward half is called 'other'; expected bo"):
        network.save(tmp_path / "m.npz")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("order", "places"), [("zrn", (1, 0, 2)), ("zrh", (1, 0, 2)),
                                               ("nzr", (2, 1, 0))])
def test_gru_gate_orders_are_reordered(order: str, places: tuple[int, ...]) -> None:
    wanted = variants.gru()
    values = {f"g.{key}": array for key, array in arrays_of(wanted).items()}
    for key in ("g.W", "g.U", "g.b"):
        values[key] = np.concatenate([np.split(values[key], 3)[place] for place in places])
    given = description({"type": "gru", "name": "g", "gates": order})
    read = read_schema({"lstmgen": np.array(json.dumps(given)), **values}, "m.npz")
    assert_same(read.layers[0], wanted)
    assert read.notes == (
        "lstmgen's own schema 1; gate order r, z, n",
        f"g: gate order {', '.join(order)}, reordered to r, z, n",
    )


def test_halves_have_gate_orders_of_their_own() -> None:
    network = variants.network("both ways of two kinds")
    wanted = network.layers[0]
    assert isinstance(wanted, Bidirectional)
    values = {f"{half.name}.{key}": array for half in wanted.halves
              for key, array in arrays_of(half).items()}
    for key in "WUb":
        i, f, g, o = np.split(values[f"both_forward.{key}"], 4)
        values[f"both_forward.{key}"] = np.concatenate([i, f, o, g])
    given = description({
        "type": "bidirectional", "name": "both",
        "forward": {"type": "lstm", "gates": "ifoc"}, "backward": {"type": "gru"},
    })
    read = read_schema({"lstmgen": np.array(json.dumps(given)), **values}, "m.npz")
    assert_same(read.layers[0], wanted)
    assert read.notes == (
        "lstmgen's own schema 1; gate order i, f, g, o and r, z, n",
        "both_forward: gate order i, f, o, c, reordered to i, f, g, o",
    )


def test_a_gru_without_b_u_has_zeros() -> None:
    layer = variants.gru(reset_after=False)
    values = {f"g.{key}": getattr(layer, key) for key in "WUb"}
    given = description({"type": "gru", "name": "g", "reset_after": False})
    read = read_schema({"lstmgen": np.array(json.dumps(given)), **values}, "m.npz")
    assert_same(read.layers[0], layer)
    lines = problems({
        "lstmgen": np.array(json.dumps(given)), **values, "g.b_u": np.ones(layer.units)
    })
    assert lines == ["m.npz: g.b_u is not zero; expected zeros, as reset_after is off"]


N = {"type": "normalization", "name": "n"}
MEAN, STD = np.array([1.0, -2.0, 0.5]), np.array([2.0, 0.5, 3.0])


def test_normalization_is_folded() -> None:
    given = json.loads(json.dumps(description(N, L, D)))
    plain = read_schema(arrays(description()), "m.npz")
    folded = read_schema(arrays(given, n__mean=MEAN, n__std=STD), "m.npz")
    assert [layer.name for layer in folded.layers] == ["l", "d"]
    assert folded.notes[1] == "n: (x - mean) / std, folded into the weights beside it"
    x = np.random.default_rng(0).normal(size=(2, 5, 3))
    np.testing.assert_allclose(run(folded, x).y, run(plain, (x - MEAN) / STD).y, atol=1e-13)


@pytest.mark.parametrize(
    ("layers", "changed", "message"),
    [
        ((N, L, D), {"n__std": np.array([1.0, 0, -1])}, r"n\.std holds 2 values that are not ab"),
        ((N, L, D), {"n__std": np.ones(2)}, r"n\.mean is \(3,\), n\.std \(2,\); expected \(n,\)"),
        ((N, L, D), {"n__mean": None}, r"array 'n\.mean' is missing; expected mean, std for each"),
        ((N, L, D), {"n__std": np.full(3, 5e-324)}, r"l\.W holds 24 values that are NaN or infin"),
        ((L, N, D), {}, r"m\.npz: n normalizes 3 values; expected 2, the width of d"),
        ((L, D, N), {}, r"m\.npz: n normalizes 3 values; expected 4, the width of d"),
        (
            (N, {"type": "embedding", "name": "e"}, L, D),
            {"e__table": np.ones((5, 3))},
            r"m\.npz: n: in front of e; an embedding takes integers only",
        ),
    ],
)
def test_normalization_that_is_wrong(
    layers: Any, changed: dict[str, object], message: str
) -> None:
    values = arrays(description(*layers), **{"n__mean": MEAN, "n__std": STD, **changed})
    with pytest.raises(ModelError, match=message):
        read_schema(values, "m.npz")
    problems(values)


@pytest.mark.parametrize(
    ("variant", "changed", "message"),
    [
        ("lstm peepholes", {"l.peephole": np.ones((4, 3))}, r"l\.peephole is \(4, 3\); exp"),
        ("lstm projection", {"l.projection": np.ones((2, 5))}, r"l\.projection is \(2, 5\); exp"),
        ("lstm projection", {"l.projection": None}, r"l\.U is \(16, 2\); expected \(4k, k\)"),
        ("gru", {"g.U": np.ones((12, 3))}, r"g\.U is \(12, 3\); expected \(3k, k\)"),
        ("gru", {"g.U": np.ones(12), "g.b_u": None}, r"g\.U is \(12,\); expected \(3k, k\)"),
        ("gru", {"g.b_u": np.ones(3)}, r"g\.b_u is \(3,\); expected \(4,\)"),
        ("embedding", {"table.table": np.ones(5)}, r"table\.table is \(5,\); expected \(entries"),
        ("embedding", {"table.table": None}, r"array 'table\.table' is missing; expected table"),
        ("dense skip", {"d.skip": np.ones((2, 3))}, r"d\.skip is \(2, 3\); expected \(3, inputs\)"),
        ("dense skip", {"d.skip": np.ones((3, 2))}, r"d\.skip takes 2 inputs; expected 3, those"),
        ("both ways sum state", {"both_backward.W": np.ones((16, 2))}, r"both: 3 inputs forw"),
        ("both ways sum state", {"both_backward.b": None}, r"array 'both_backward\.b' is missing"),
        ("both ways sum state", {"both.W": np.ones(1)}, r"array 'both\.W' belongs to no layer"),
    ],
)
def test_variants_whose_arrays_are_wrong(
    tmp_path: Path, variant: str, changed: dict[str, Any], message: str
) -> None:
    stored = {**saved(variants.network(variant), tmp_path), **changed}
    values = {key: value for key, value in stored.items() if value is not None}
    with pytest.raises(ModelError, match=message):
        read_schema(values, "m.npz")
    problems(values)


JUNK: list[Any] = [None, True, 0, -1, 1e308, "", "x", "ifgo", "rzn", "lstm", "gru", "bidirectional",
                   "normalization", "embedding", "reverse", [], {}, [1], L, 10**400, float("nan")]


def mutated(value: Any, r: np.random.Generator) -> Any:
    """Return a description with values replaced, keys renamed and dropped, here and there."""
    if isinstance(value, dict):
        keys = {key: str(r.choice(["gate", "clip", "gates", "skip"])) if r.random() < 0.03 else key
                for key in value if r.random() > 0.03}
        return {keys[key]: mutated(value[key], r) for key in keys}
    if isinstance(value, list):
        return [mutated(entry, r) for entry in value]
    return JUNK[r.integers(len(JUNK))] if r.random() < 0.12 else value


@pytest.mark.parametrize("variant", variants.LAYERS)
def test_mutated_files_are_read_or_refused(tmp_path: Path, variant: str) -> None:
    """Never another exception, and each line of an error names the file."""
    stored = saved(variants.network(variant), tmp_path)
    description = json.loads(str(stored["lstmgen"]))
    r = np.random.default_rng(3)
    lines: list[str] = []
    for _ in range(60):
        values = {**stored, "lstmgen": np.array(json.dumps(mutated(description, r)))}
        for key in list(stored)[1:]:
            if r.random() < 0.04:
                values[key] = r.normal(size=tuple(r.integers(0, 5, r.integers(0, 4))))
            elif r.random() < 0.02:
                del values[key]
        try:
            read_schema(values, "m.npz")
        except ModelError as error:
            lines += str(error).splitlines()
    assert len(lines) > 20
    assert all(line.startswith("m.npz") for line in lines)


def test_more_weights_than_are_allowed_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each array may be small enough and the network too large."""
    monkeypatch.setattr(limits, "MAX_WEIGHTS", 47)
    assert problems(arrays(description(L, D))) == [
        "m.npz: model: 48 weights; expected at most 47"
    ]


def test_a_network_without_lstm_is_refused() -> None:
    values = arrays(description(D), l__W=None, l__U=None, l__b=None)
    assert problems(values) == [
        "m.npz: model: the network has 1 layers, none of them an LSTM; "
        "expected at least one LSTM layer"
    ]


def test_everything_wrong_is_listed_at_once() -> None:
    given = description(L, D, colour=1, outputs="all")
    lines = problems(
        arrays(given, l__W=np.ones((9, 3)), d__W=np.full((4, 2), np.nan), d__b=None, z=np.ones(1))
    )
    assert len(lines) == 6
