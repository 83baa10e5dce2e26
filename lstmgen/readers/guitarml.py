"""GuitarML's JSON (Automated-GuitarAmpModelling, Proteus): a state dict as lists beside settings.

With skip = s the network's first s inputs are added to its outputs.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from ..errors import ModelError
from ..folding import Affine
from ..layers import Dense, Gru, Layer, Lstm
from ..network import MAX_LAYERS, MAX_WIDTH
from ..qformat import FloatArray
from . import torch_modules
from .json_arrays import arrays_of, natural
from .options import Draft, ReadOptions

_UNITS = {"LSTM": Lstm, "GRU": Gru}


def read(values: dict[str, Any], source: str, name: str, options: ReadOptions) -> Draft:
    """Return the network of a SimpleRNN of LSTM or GRU units; others are refused by name."""
    data, state_dict = values["model_data"], values["state_dict"]
    if not isinstance(data, dict) or not isinstance(state_dict, dict):
        raise ModelError(f"{source}: model_data or state_dict is no object; expected both to be")
    problems = []
    if data.get("model") != "SimpleRNN":
        problems.append(
            f"{source}: model is {str(data.get('model'))[:40]!a}; expected SimpleRNN, recurrent "
            "layers and a linear one"
        )
    unit = data.get("unit_type")
    if not isinstance(unit, str) or unit not in _UNITS:
        problems.append(f"{source}: unit_type is {str(unit)[:40]!a}; expected LSTM or GRU")
    sizes = {"input_size": MAX_WIDTH, "hidden_size": MAX_WIDTH, "num_layers": MAX_LAYERS}
    for key, largest in sizes.items():
        try:
            natural(data, key, f"{source}: model_data", largest)
        except ModelError as error:
            problems.append(str(error))
    if problems:
        raise ModelError.of(problems)
    draft = torch_modules.read(
        arrays_of(state_dict, source), source, name, options, f"GuitarML {unit}"
    )
    draft = replace(draft, stored=True, outputs="sequence")
    if draft.problems or any(_shape_problems(layer) for layer in draft.layers):
        return draft  # which names them
    cells, last = draft.layers[:-1], draft.layers[-1] if draft.layers else None
    if not isinstance(last, Dense) or not all(isinstance(cell, Lstm | Gru) for cell in cells):
        problems.append(f"{source}: its layers are no {unit} layers and a linear one behind them")
    else:
        problems += _size_problems(draft, data, source)
    if not problems:
        draft = _skipping(draft, data, source, problems)
    return replace(draft, problems=tuple(problems))


def _shape_problems(layer: Layer | Affine) -> bool:
    return not isinstance(layer, Affine) and any(True for _ in layer.shape_problems())


def _size_problems(draft: Draft, data: dict[str, Any], source: str) -> list[str]:
    """Return a line for each size in model_data that its arrays do not have."""
    cells = [layer for layer in draft.layers if isinstance(layer, Lstm | Gru)]
    found: dict[str, object] = {
        "unit_type": " and ".join(sorted({type(layer).__name__.upper() for layer in cells})),
        "num_layers": len(cells),
        "input_size": cells[0].inputs if cells else 0,
        "hidden_size": cells[0].units if cells else 0,
    }
    return [
        f"{source}: model_data has {key} {data[key]}; expected {value}, which its arrays have"
        for key, value in found.items()
        if data[key] != value
    ]


def _skipping(draft: Draft, data: dict[str, Any], source: str, problems: list[str]) -> Draft:
    """Return the draft with the inputs added to its outputs as `skip` says."""
    skip, inputs = data.get("skip"), data["input_size"]
    if skip == 0:
        return replace(draft, notes=(*draft.notes, "skip 0: no input is added to the outputs"))
    last = draft.layers[-1]
    assert isinstance(last, Dense)
    matrix = _skip_matrix(skip, len(last.b), inputs)
    if matrix is None:
        problems.append(
            f"{source}: skip is {str(skip)[:40]!a}; expected 0, 1, or {len(last.b)} as it has "
            f"outputs, and at most the {inputs} inputs"
        )
        return draft
    note = f"{last.name}: skip {skip}: the first inputs are added to the outputs"
    layers = (*draft.layers[:-1], replace(last, skip=matrix))
    return replace(draft, layers=layers, notes=(*draft.notes, note))


def _skip_matrix(skip: object, outputs: int, inputs: int) -> FloatArray | None:
    """Return the (outputs, inputs) matrix that adds input j to output j, or the first to all."""
    if type(skip) is not int or skip not in (1, outputs) or skip > inputs:
        return None
    matrix = np.zeros((outputs, inputs))
    matrix[np.arange(outputs), np.arange(outputs) if skip == outputs else 0] = 1.0
    return matrix
