"""Each mistake of reading, made on purpose: the diagnosis names it, with its flag."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import permutations
from typing import Any

import numpy as np
import pytest

from lstmgen import diagnosis, reference
from lstmgen.diagnosis import diagnose, turned
from lstmgen.errors import ModelError
from lstmgen.expect import TOLERANCE, compare
from lstmgen.hypotheses import hypotheses, pairs
from lstmgen.layers import Bidirectional, Gru, Lstm
from lstmgen.network import Network
from lstmgen.weights import reordered

import float_variants as variants

LENGTHS = np.array([7, 5, 7, 2])


def stacked(outputs: Any = "sequence", **head: Any) -> Network:
    """Two LSTM layers of as many units, a dense layer as wide, and a head."""
    return Network.of(
        variants.lstm(4, 4, "a"), variants.lstm(4, 4, "b"), variants.dense(4, 4, "mid"),
        variants.dense(4, 4, "fc", **head), outputs=outputs,
    )


def bidirectional(outputs: Any = "last", **choices: Any) -> Network:
    pair = variants.both_ways(variants.lstm(), variants.lstm(name="x"), **choices)
    return Network.of(pair, outputs=outputs)


def grus(**choices: Any) -> Network:
    return Network.of(
        variants.gru(4, 4, "a", **choices), variants.gru(4, 4, "b", **choices), outputs="sequence"
    )


def with_layer(network: Network, name: str, change: Callable[[Any], Any]) -> Network:
    """Return the network with one layer, or all for the name "", changed."""
    return replace(network, layers=tuple(
        change(layer) if layer.name == name or (not name and isinstance(layer, Lstm | Gru))
        else layer for layer in network.layers
    ))


def cause_of(
    true: Network, wrong: Network, *, x_turned: bool = False, y_turned: bool = False
) -> diagnosis.Cause | None:
    """Diagnose `wrong` by what `true` gives for the inputs, perhaps stored the other way round."""
    x = variants.inputs(true, len(LENGTHS), LENGTHS.max())
    y = reference.run(true, x, LENGTHS).y
    x = turned(x, LENGTHS) if x_turned else x
    y = turned(y, LENGTHS) if y_turned else y
    return diagnose(wrong, x, y, LENGTHS, TOLERANCE * np.abs(y).max())


def named(cause: diagnosis.Cause | None, what: str, flag: str | None = None) -> None:
    assert cause is not None
    assert (cause.what, cause.flag) == (what, flag)
    assert cause.max_abs_error < 1e-9


@pytest.mark.parametrize(
    ("true", "read", "flag"),
    [
        ("softmax", "linear", "--head softmax"),
        ("linear", "softmax", "--head none"),
        ("sigmoid", "linear", "--head sigmoid"),
        ("linear", "sigmoid", "--head none"),
        ("relu", "linear", "--activation fc=relu"),
        ("tanh", "linear", "--activation fc=tanh"),
    ],
)
@pytest.mark.parametrize("outputs", ["last", "sequence"])
def test_head(true, read, flag, outputs):
    networks = stacked(outputs, activation=true), stacked(outputs, activation=read)
    named(cause_of(*networks), f"fc has the activation {true}, not {read}", flag)


def test_activation_of_an_inner_layer():
    true = with_layer(stacked(), "mid", lambda layer: replace(layer, activation="relu"))
    named(cause_of(true, stacked()), "mid has the activation relu, not linear",
          "--activation mid=relu")


@pytest.mark.parametrize("read", ["last", "sequence"])
def test_outputs(read):
    true = "sequence" if read == "last" else "last"
    cause = cause_of(stacked(true), stacked(read))
    named(cause, f"outputs is {true}", f"--outputs {true}")


def test_classes_instead_of_probabilities():
    cause = cause_of(stacked("last", activation="argmax"), stacked("last"))
    named(cause, "fc has the activation argmax, not linear", "--head argmax")


def test_skip():
    for skip in (np.eye(4), None):
        true, read = stacked(skip=skip), stacked(skip=None if skip is not None else np.eye(4))
        verb = "is" if skip is not None else "is not"
        named(cause_of(true, read), f"the network's input {verb} added to what fc gives")


def test_time():
    last, sequence, runs = stacked("last"), stacked(), "from the last step to the first"
    named(cause_of(last, last, x_turned=True), f"the inputs run {runs}")
    named(cause_of(sequence, sequence, x_turned=True), f"the inputs run {runs}")
    named(cause_of(sequence, sequence, y_turned=True), f"the outputs run {runs}")
    cause = cause_of(sequence, sequence, x_turned=True, y_turned=True)
    named(cause, f"inputs and outputs run {runs}")


@pytest.mark.parametrize("name", ["a", "b"])
@pytest.mark.parametrize("read", ["forward", "reverse", "flipped"])
@pytest.mark.parametrize("true", ["forward", "reverse", "flipped"])
def test_direction(true, read, name):
    if true == read:
        return
    networks = (
        with_layer(stacked(), name, partial(replace, direction=way)) for way in (true, read)
    )
    cause = cause_of(*networks)
    assert cause is not None
    wanted = {f"the direction of {name} is {true}, not {read}"}
    if "flipped" in (true, read):
        # Nothing before a and behind b knows time: the other order there is the same.
        turned = "inputs" if name == "a" else "outputs"
        wanted.add(f"the {turned} run from the last step to the first")
    assert cause.what in wanted
    assert cause.max_abs_error < 1e-9


@pytest.mark.parametrize(("true", "read"), [("state", "step"), ("step", "state")])
def test_ends(true, read):
    cause = cause_of(bidirectional(ends=true), bidirectional(ends=read))
    named(cause, f"both ends with {true}, not {read}", f"--ends {true}")


@pytest.mark.parametrize(
    ("true", "read"), list(permutations(("sum", "average", "multiply"), 2))
)
def test_merge(true, read):
    cause = cause_of(bidirectional(merge=true), bidirectional(merge=read))
    named(cause, f"the merge mode of both is {true}, not {read}")


def test_merge_of_another_width():
    cause = cause_of(bidirectional(merge="sum"), bidirectional(merge="concat"))
    named(cause, "the merge mode of both is sum, not concat")


def test_halves_that_changed_places():
    true = bidirectional()
    pair = true.layers[0]
    assert isinstance(pair, Bidirectional)
    read = Network.of(replace(pair, forward=pair.backward, backward=pair.forward))
    named(cause_of(true, read), "the halves of both change places")


def rows(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Any], Any]:
    return lambda layer: replace(layer, **{key: change(getattr(layer, key)) for key in "WUb"})


@pytest.mark.parametrize("order", ["".join(o) for o in permutations("ifgo") if o != tuple("ifgo")])
@pytest.mark.parametrize(("name", "where"), [("b", "b"), ("", "all LSTM layers")])
def test_gate_order(order, name, where):
    read = with_layer(stacked(), name, rows(lambda array: reordered(array, "ifgo", order)))
    cause = cause_of(stacked(), read)
    named(cause, f"the gates of {where} come in the order {', '.join(order)}, not i, f, g, o")


@pytest.mark.parametrize("order", ["".join(o) for o in permutations("rzn") if o != tuple("rzn")])
@pytest.mark.parametrize(("name", "where"), [("a", "a"), ("", "all GRU layers")])
def test_gru_gate_order(order, name, where):
    true = grus(reset_after=False)
    read = with_layer(true, name, rows(lambda array: reordered(array, "rzn", order)))
    cause = cause_of(true, read)
    named(cause, f"the gates of {where} come in the order {', '.join(order)}, not r, z, n")


def test_gate_order_of_a_half():
    true = bidirectional()
    pair = true.layers[0]
    assert isinstance(pair, Bidirectional)
    half = rows(lambda array: reordered(array, "ifgo", "ifog"))(pair.backward)
    cause = cause_of(true, Network.of(replace(pair, backward=half)))
    named(cause, "the gates of both_backward come in the order i, f, o, g, not i, f, g, o")


def scaled(factor: float) -> Callable[[Any], Any]:
    def change(layer: Any) -> Any:
        inner = {"b_u": factor * layer.b_u} if isinstance(layer, Gru) else {}
        return replace(layer, b=factor * layer.b, **inner)

    return change


@pytest.mark.parametrize(
    ("true", "read", "text"),
    [(0.0, 1.0, "no bias"), (1.0, 0.5, "twice the bias"), (1.0, 2.0, "half the bias")],
)
@pytest.mark.parametrize(
    ("network", "name", "where"),
    [(stacked(), "a", "a"), (stacked(), "", "all LSTM layers"), (stacked(), "fc", "fc"),
     (grus(), "b", "b"), (grus(), "", "all GRU layers")],
)
def test_bias(network, name, where, true, read, text):
    networks = (with_layer(network, name, scaled(factor)) for factor in (true, read))
    named(cause_of(*networks), f"{where} has {text}")


@pytest.mark.parametrize(("text", "step"), [("larger", 1.0), ("smaller", -1.0)])
@pytest.mark.parametrize(("name", "where"), [("a", "a"), ("", "all LSTM layers")])
def test_forget_bias(text, step, name, where):
    def change(layer: Lstm) -> Lstm:
        b = layer.b.copy()
        b[layer.units : 2 * layer.units] -= step
        return replace(layer, b=b)

    cause = cause_of(stacked(), with_layer(stacked(), name, change))
    named(cause, f"the forget bias of {where} is {text} by 1")


@pytest.mark.parametrize(
    ("true", "read"), list(permutations(("sigmoid", "hard_sigmoid", "hard_sigmoid_6"), 2))
)
@pytest.mark.parametrize("network", [stacked(), grus()])
def test_gate_function(network, true, read):
    networks = (with_layer(network, "", partial(replace, gate=gate)) for gate in (true, read))
    kind = "GRU" if isinstance(network.layers[0], Gru) else "LSTM"
    named(cause_of(*networks), f"the gates of all {kind} layers are {true}, not {read}")


def blocks(array: np.ndarray) -> np.ndarray:
    k = array.shape[1]
    return np.concatenate([array[at : at + k].T for at in range(0, len(array), k)])


@pytest.mark.parametrize("network", [stacked(), grus()])
@pytest.mark.parametrize(
    ("keys", "text"),
    [("U", "each gate's matrix a.U is transposed"), ("W", "each gate's matrix a.W is transposed"),
     ("UW", "each gate's matrices U and W of a are transposed")],
)
def test_transposed_gates(network, keys, text):
    read = with_layer(
        network, "a",
        lambda layer: replace(layer, **{key: blocks(getattr(layer, key)) for key in keys}),
    )
    named(cause_of(network, read), text)


def test_transposed_matrices():
    def turn(layer: Any) -> Any:
        return replace(layer, W=layer.W.T)

    true = Network.of(variants.lstm(8, 2), outputs="sequence")
    named(cause_of(true, with_layer(true, "l", turn)), "l.W is transposed")
    read = with_layer(stacked(), "fc", turn)
    named(cause_of(stacked(), read), "the weights of fc are transposed")


def test_reset():
    after, before = (
        Network.of(variants.gru(reset_after=after), outputs="sequence") for after in (True, False)
    )
    gru = after.layers[0]
    assert isinstance(gru, Gru)
    b = gru.b + np.concatenate([np.zeros(8), gru.b_u])
    true = Network.of(replace(gru, b=b, b_u=np.zeros(4), reset_after=False), outputs="sequence")
    named(cause_of(true, after), "g resets before its matrix product")
    true = with_layer(before, "g", lambda layer: replace(layer, reset_after=True))
    named(cause_of(true, before), "g resets after its matrix product")
    true = with_layer(after, "g", lambda layer: replace(layer, b_u=np.zeros(4)))
    named(cause_of(true, after), "g has no bias inside its reset")


def test_update_gate():
    def change(layer: Gru) -> Gru:
        sign = np.repeat([1.0, -1.0, 1.0], layer.units)
        return replace(layer, W=(layer.W.T * sign).T, U=(layer.U.T * sign).T, b=layer.b * sign)

    cause = cause_of(grus(), with_layer(grus(), "a", change))
    named(cause, "the update gate z of a is the new value's share, not the old one's")


@pytest.mark.parametrize(
    ("layer", "changed", "text"),
    [
        (variants.lstm(), {"h0": np.full(4, 0.4)}, "the initial state of l is zero"),
        (variants.lstm(), {"c0": np.full(4, 0.4)}, "the initial state of l is zero"),
        (variants.gru(), {"h0": np.full(4, 0.4)}, "the initial state of g is zero"),
        (variants.lstm(), {"cell_clip": 0.2}, "the cells of l are not limited"),
        (variants.lstm(), {"clip": 0.3}, "the sums of l are not limited"),
        (variants.gru(), {"clip": 0.3}, "the sums of g are not limited"),
    ],
)
def test_what_is_too_much(layer, changed, text):
    networks = (
        Network.of(one, outputs="sequence") for one in (layer, replace(layer, **changed))
    )
    named(cause_of(*networks), text)


def test_a_head_and_something_else():
    pair = bidirectional(ends="step").layers[0]
    true = Network.of(pair, variants.dense(8, 4, "fc", activation="softmax"))
    read = Network.of(replace(pair, ends="state"), variants.dense(8, 4, "fc"))
    named(
        cause_of(true, read),
        "fc has the activation softmax, not linear, and both ends with step, not state",
        "--head softmax --ends step",
    )
    read = with_layer(stacked(), "b", rows(lambda array: reordered(array, "ifgo", "ifog")))
    named(
        cause_of(stacked(activation="sigmoid"), read),
        "fc has the activation sigmoid, not linear, and the gates of b come in the order "
        "i, f, o, g, not i, f, g, o",
        "--head sigmoid",
    )


@pytest.mark.parametrize("variant", variants.LAYERS)
def test_what_is_wrong_beyond_all_hypotheses(variant):
    """And every hypothesis can be run, or is told to be impossible, for every variant."""
    network = variants.network(variant)
    r = np.random.default_rng(0)
    x = variants.inputs(network, 2, 3)
    y = r.normal(size=(2, 3, network.width))
    assert diagnose(network, x, y, np.array([3, 2]), 1e-3) is None
    assert diagnose(network, x, y[..., 0] * np.nan, np.array([3, 2]), 1e-3) is None


def test_hypotheses_are_worded_once():
    for variant in variants.LAYERS:
        words = [one.what for kind in (hypotheses, pairs)
                 for one in kind(variants.network(variant))]
        assert len(set(words)) == len(words)
        assert not [text for text in words if "{" in text]


def test_cost_is_bounded(monkeypatch):
    """A long sequence's trials stop at the budget, and mostly see its first steps alone."""
    seen: list[int] = []
    run = reference.run

    def counted(network: Network, x: np.ndarray, lengths: np.ndarray) -> Any:
        seen.append(x.shape[0] * x.shape[1])
        return run(network, x, lengths)

    read = with_layer(stacked(), "a", rows(lambda array: reordered(array, "ifgo", "iofg")))
    x = variants.inputs(read, 9, 200)
    y = run(stacked(), x).y
    monkeypatch.setattr(reference, "run", counted)
    cause = diagnose(read, x, y, np.full(9, 200), 1e-3)
    named(cause, "the gates of a come in the order i, o, f, g, not i, f, g, o")
    assert max(seen) == diagnosis.SEQUENCES * 200
    assert np.median(seen) == diagnosis.SEQUENCES * diagnosis.PREFIX
    seen.clear()
    monkeypatch.setattr(diagnosis, "BUDGET_NS", 1_000_000)
    assert diagnose(read, x, y, np.full(9, 200), 1e-3) is None
    assert len(seen) <= 4


def limited() -> tuple[Network, Network]:
    """A network, and one that limits sums and cells, only the sums of large inputs in fact."""
    layer = variants.lstm()
    read = replace(layer, clip=1.5, cell_clip=50.0)
    return Network.of(layer, outputs="sequence"), Network.of(read, outputs="sequence")


def test_the_worst_sequences_are_tried():
    """Where most sequences fit, those that do not tell the cause."""
    true, read = limited()
    x = np.tile(0.1 * variants.inputs(true, 1, 5), (9, 1, 1))
    x[7] *= 30
    y = reference.run(true, x).y
    agreement = compare(read, {"x": x, "y": y}, "known.npz")
    assert not agreement.right
    named(agreement.cause, "the sums of l are not limited")


def test_a_prefix_that_fits_tells_nothing():
    """The mistake shows beyond the first steps only."""
    true, read = limited()
    x = 0.1 * variants.inputs(true, 1, diagnosis.PREFIX + 8)
    x[:, diagnosis.PREFIX :] *= 30
    cause = compare(read, {"x": x, "y": reference.run(true, x).y}, "known.npz").cause
    named(cause, "the sums of l are not limited")


def test_a_cause_explains_more_than_half_of_the_error():
    """Outputs off by as much with a change as without are not explained by it."""
    layer = variants.lstm()
    zero = Network.of(layer, outputs="sequence")
    read = Network.of(replace(layer, c0=np.full(4, 1e-3)), outputs="sequence")
    x = variants.inputs(read, 2, 5)
    y, got = reference.run(zero, x).y, reference.run(read, x).y
    small = np.abs(got - y).max()
    y = y - 10 * small * np.sign((got - y).flat[np.abs(got - y).argmax()])
    assert diagnose(read, x, y, np.array([5, 5]), 10.5 * small) is None
    cause = diagnose(read, x, reference.run(zero, x).y, np.array([5, 5]), 0.5 * small)
    named(cause, "the initial state of l is zero")


def test_sentence():
    cause = diagnosis.Cause("fc has the activation softmax, not linear", "--head softmax", 2.1e-7)
    assert str(cause) == (
        "the outputs fit if fc has the activation softmax, not linear (max error 2.1e-07); "
        "set it with --head softmax"
    )
    assert str(replace(cause, flag=None)).endswith("not linear (max error 2.1e-07)")


def test_compare_names_the_cause():
    true, read = stacked("last", activation="softmax"), stacked("last")
    x = variants.inputs(true, 6, 4)
    agreement = compare(read, {"x": x, "y": reference.run(true, x).y}, "known.npz")
    assert not agreement.right
    named(agreement.cause, "fc has the activation softmax, not linear", "--head softmax")
    assert compare(true, {"x": x, "y": reference.run(true, x).y}, "known.npz").cause is None


def test_compare_names_the_outputs():
    x = variants.inputs(stacked(), 3, 4)
    y = reference.run(stacked(), x).y
    with pytest.raises(ModelError) as caught:
        compare(stacked("last"), {"x": x, "y": y}, "known.npz")
    assert str(caught.value) == (
        "known.npz: y is (3, 4, 4); expected (3, 4), the outputs after the last step (set it with "
        "--outputs); the outputs fit if outputs is sequence (max error 0); "
        "set it with --outputs sequence"
    )
    with pytest.raises(ModelError, match=r"the last step \(set it with --outputs\)$"):
        compare(stacked("last"), {"x": x, "y": y + 1}, "known.npz")
    with pytest.raises(ModelError, match=r"y is \(2, 4\); expected \(3, 4\), the outputs"):
        compare(stacked("last"), {"x": x, "y": y[:2, 0]}, "known.npz")


@pytest.mark.parametrize("outputs", ["last", "sequence"])
@pytest.mark.parametrize("variant", ["both ways concat state", "lstm reverse", "dense skip tanh"])
def test_compare_heeds_lengths(variant, outputs):
    """What a framework writes beyond a sequence's end is nobody's concern."""
    network = variants.network(variant, outputs)
    x, lengths = variants.inputs(network, 3, 6), np.array([6, 2, 4], np.int32)
    y = reference.run(network, x, lengths).y
    if outputs == "sequence":
        y[1, 2:] = 99
    known = {"x": x, "y": y, "lengths": lengths}
    assert compare(network, known, "known.npz").max_abs_error == 0
    del known["lengths"]
    assert not compare(network, known, "known.npz").right


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        (np.array([3, 2]), r"lengths is int64 of shape \(2,\); expected \(3,\) integers, the"),
        (np.ones(3), r"lengths is float64 of shape \(3,\); expected \(3,\) integers"),
        (np.array([0, 1, 2]), r"lengths is 0 to 2; expected 1 to 4"),
        (np.array([5, 1, 2]), r"lengths is 1 to 5; expected 1 to 4"),
    ],
)
def test_lengths_that_are_wrong(lengths, message):
    network = variants.network("lstm")
    x = variants.inputs(network, 3, 4)
    y = reference.run(network, x).y
    with pytest.raises(ModelError, match=f"^known.npz: {message}"):
        compare(network, {"x": x, "y": y, "lengths": lengths}, "known.npz")


def test_compare_takes_an_embeddings_integers():
    network = variants.network("embedding")
    x = variants.inputs(network)
    y = reference.run(network, x).y
    for given in (x, x.astype(np.uint8), x[..., 0].astype(np.int32)):
        assert compare(network, {"x": given, "y": y}, "known.npz").max_abs_error == 0
    ones = reference.run(network, np.ones_like(x)).y
    assert compare(network, {"x": x == x, "y": ones}, "known.npz").right
    for wrong, found in ((x + 0.5, "0.5 to 5.5"), (x - 1, r"-1\.0 to 4\.0"), (x + 1, "1.0 to 6.0")):
        with pytest.raises(ModelError, match=f"are {found}; expected integers 0 to 5, the rows of"):
            compare(network, {"x": wrong, "y": y}, "known.npz")
