"""Normalization folded into weights: the float run of what is left gives the same values."""

import numpy as np
import pytest

from lstmgen import reference
from lstmgen.errors import ModelError
from lstmgen.folding import Affine, fit_problems, fold
from lstmgen.layers import Bidirectional, Dense, Embedding, Layer, Lstm
from lstmgen.network import Network
from lstmgen.readers.options import Draft, ReadOptions, complete

import float_variants as variants


def affine(width: int, name: str = "norm", seed: int = 0) -> Affine:
    r = np.random.default_rng([seed, width])
    return Affine(name, r.uniform(0.3, 2.0, width) * r.choice([-1, 1], width), r.normal(size=width))


def applied(norm: Affine, x: np.ndarray) -> np.ndarray:
    return x * norm.scale + norm.offset


def y(layers: list[Layer], x: np.ndarray, outputs: str = "sequence") -> np.ndarray:
    return reference.run(Network(tuple(layers), outputs=outputs), x).y  # type: ignore[arg-type]


def close(got: np.ndarray, wanted: np.ndarray) -> None:
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-13)


X = np.random.default_rng(1).normal(size=(2, 5, variants.INPUTS))

FIRST: dict[str, list[Layer]] = {
    "lstm": [variants.lstm()],
    "lstm reverse": [variants.lstm(direction="reverse", h0=np.full(4, 0.3))],
    "gru": [variants.gru()],
    "gru reset before": [variants.gru(reset_after=False)],
    "dense": [variants.dense(3, 5, "pre", activation="relu"), variants.lstm(5)],
    "both ways": [variants.both_ways(variants.lstm(), variants.gru())],
}


@pytest.mark.parametrize("first", FIRST)
def test_in_front_of(first):
    norm = affine(3)
    folded = fold([norm, *FIRST[first]])
    assert [layer.name for layer in folded] == [layer.name for layer in FIRST[first]]
    close(y(folded, X), y(FIRST[first], applied(norm, X)))


@pytest.mark.parametrize("outputs", ["last", "sequence"])
def test_between_layers(outputs):
    """The float run has no normalization: a dense layer of a diagonal matrix stands for it."""
    norm = affine(4)
    diagonal = Dense("norm", np.diag(norm.scale), norm.offset)
    for above in (variants.gru(4, 2), variants.dense(4, 2, activation="softmax")):
        got = fold([variants.lstm(), norm, above])
        assert len(got) == 2
        close(y(got, X, outputs), y([variants.lstm(), diagonal, above], X, outputs))


def test_behind_an_embedding():
    table, norm = variants.embedding(5), affine(5)
    got = fold([table, norm, variants.lstm(5)])
    scaled = Embedding("table", applied(norm, table.table))
    x = np.array([[[0.0], [5], [2]]])
    close(y(got, x), y([scaled, variants.lstm(5)], x))


def test_behind_a_linear_head():
    for head in (variants.dense(4, 2), variants.dense(4, 2, skip=True)):
        got = fold([variants.lstm(), head, affine(2)])
        assert [layer.name for layer in got] == ["l", "d"]
        close(y(got, X), applied(affine(2), y([variants.lstm(), head], X)))


@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid"])
def test_behind_another_head_it_is_a_layer_of_its_own(activation):
    head = variants.dense(4, 2, activation=activation)
    got = fold([variants.lstm(), head, affine(2)])
    assert [layer.name for layer in got] == ["l", "d", "norm"]
    close(y(got, X), applied(affine(2), y([variants.lstm(), head], X)))


def test_behind_the_last_recurrent_layer_it_is_a_layer_of_its_own():
    got = fold([variants.lstm(), affine(4)])
    assert isinstance(got[1], Dense)
    close(y(got, X), applied(affine(4), y([variants.lstm()], X)))


def test_several_in_a_row():
    first, second = affine(3), affine(3, "other", seed=1)
    got = fold([first, second, variants.lstm(), affine(4, "a"), affine(4, "b", seed=2)])
    assert [layer.name for layer in got] == ["l", "a"]
    wanted = y([variants.lstm()], applied(second, applied(first, X)))
    close(y(got, X), applied(affine(4, seed=2), applied(affine(4), wanted)))


def test_standardising():
    mean, deviation = np.array([1.0, -2, 3]), np.array([2.0, 0.5, 4])
    got = fold([Affine.standardising("norm", mean, deviation), variants.lstm()])
    close(y(got, X), y([variants.lstm()], (X - mean) / deviation))


def test_nothing_to_fold_leaves_the_layers_alone():
    layers = list(variants.LAYERS["dense skip tanh"])
    assert all(one is other for one, other in zip(fold(layers), layers, strict=True))


MISFITS = {
    "in front": (
        [affine(2), variants.lstm()],
        "norm normalizes 2 values; expected 3, the width of l",
    ),
    "between": (
        [variants.lstm(), affine(3), variants.dense(4, 2)],
        "norm normalizes 3 values; expected 4, the width of d",
    ),
    "at the end": (
        [variants.lstm(), affine(3)],
        "norm normalizes 3 values; expected 4, the width of l",
    ),
    "two": (
        [affine(4), affine(3, "other"), variants.lstm()],
        "norm normalizes 4 values; expected 3, the width of other",
    ),
    "both ways": (
        [affine(4), variants.both_ways(variants.lstm(), variants.gru())],
        "norm normalizes 4 values; expected 3, the width of both",
    ),
    "before an embedding": (
        [affine(1), variants.embedding(), variants.lstm()],
        "norm: in front of table; an embedding takes integers only",
    ),
}


@pytest.mark.parametrize("case", MISFITS)
def test_what_does_not_fit_is_named(case):
    layers, message = MISFITS[case]
    assert list(fit_problems(layers)) == [message]
    with pytest.raises(ModelError, match=f"^m.h5: {message}$"):
        complete(Draft("m.h5", "m", tuple(layers)), ReadOptions())


def test_what_fits_has_no_problems():
    for layers in FIRST.values():
        assert not list(fit_problems([affine(3), affine(3, "n"), *layers]))
    last = variants.dense(4, 2)
    assert not list(fit_problems([variants.lstm(), affine(4), last, affine(2, "n")]))


def test_a_broken_layer_is_named_by_its_own_checks_alone():
    whole = variants.lstm()
    broken = Lstm("l", whole.W[:, 0], whole.U, whole.b)
    assert not list(fit_problems([affine(2), broken, affine(9, "n")]))
    pair = Bidirectional("both", broken, variants.gru())
    assert not list(fit_problems([affine(2), pair]))
    with pytest.raises(ModelError, match=r"l.W is \(16,\); expected"):
        complete(Draft("m.h5", "m", (affine(2), broken)), ReadOptions())
