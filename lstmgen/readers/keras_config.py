"""What Keras writes about a model: its JSON, and from it the chain of its layers.

A config names classes and functions; it is data here, and nothing in it is ever loaded or run.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import ModelError

Config = Mapping[str, Any]

MAX_LAYERS = 512
"""Most layers of a config, those that compute nothing included."""

_MAX_NESTED = 8

MODELS = ("Sequential", "Functional", "Model")

MASKS = ("NotEqual", "Any")
"""Operations by which Keras 3 writes the mask of a Masking or Embedding layer into a graph."""


@dataclass(frozen=True)
class Entry:
    """A layer of the chain.

    kind: its class; name: for people and the network; own: its name in the file.
    path: where Keras 3 puts its weights: classes and their order, not names.
    group: where .h5 files put them: the name of the outermost layer that it lies in.
    nested: whether that is a model around it. mask: whether its call was given a mask.
    slices: the index, if it takes a part of a tensor, with None for all along an axis.
    """

    kind: str
    name: str
    own: str
    config: Config
    path: str
    group: str
    nested: bool = False
    mask: bool = False
    slices: tuple[Any, ...] = ()


def parse(text: str | bytes, where: str) -> Config:
    """Return the JSON object of a text."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        reason = str(error)[:100]
        raise ModelError(f"{where} is no JSON ({reason!a}); save the model anew") from error
    if not isinstance(value, dict):
        raise ModelError(f"{where} is no JSON object; expected what Keras writes of a model")
    return value


def chain_of(model: Config, source: str, problems: list[str]) -> list[Entry]:
    """Return the layers of a model in order; what is wrong is appended to `problems`."""
    return list(_Chain(source, problems).model(model, "", None, 0))


def child(config: Config, key: str) -> Config:
    """Return the object under a key, or an empty one."""
    value = config.get(key)
    return value if isinstance(value, dict) else {}


def snake(kind: str) -> str:
    """Return a class name as Keras writes it in paths.

    >>> snake("BatchNormalization"), snake("LSTMCell"), snake("ReLU")
    ('batch_normalization', 'lstm_cell', 're_lu')
    """
    name = re.sub(r"\W+", "", kind)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


def class_of(layer: Config) -> str:
    """Return the class of a serialized object."""
    return str(layer.get("class_name", "layer without a class"))[:80]


def is_custom(layer: Config) -> bool:
    """Tell whether a class is none of Keras' own."""
    kind, module = class_of(layer), layer.get("module")
    registered = layer.get("registered_name")
    if isinstance(registered, str) and registered not in ("", kind):
        return True
    own = not isinstance(module, str) or module.split(".")[0] in ("keras", "tf_keras")
    return ">" in kind or not own


class _Chain:
    """Walks through a model and the models nested in it."""

    def __init__(self, source: str, problems: list[str]) -> None:
        self._source = source
        self._problems = problems
        self._names: set[str] = set()
        self._count = 0

    def model(self, model: Config, path: str, group: str | None, depth: int) -> Iterator[Entry]:
        """Yield the layers of a model whose weights lie below `path`."""
        kind = class_of(model)
        if is_custom(model) or kind not in MODELS:
            self._problems.append(
                f"{self._source}: the model is a {kind!a}, whose code is never loaded; expected "
                "a Sequential or Functional model"
            )
            return
        config = model.get("config")
        if isinstance(config, list):  # a Sequential model of Keras before 2.2.3
            config = {"layers": config}
        layers = config.get("layers") if isinstance(config, dict) else None
        if not isinstance(layers, list) or not all(isinstance(item, dict) for item in layers):
            self._problems.append(f"{self._source}: a {kind} model without a list of layers")
            return
        assert isinstance(config, dict)
        self._count += len(layers)
        if self._count > MAX_LAYERS or depth > _MAX_NESTED:
            raise ModelError(
                f"{self._source} has more than {MAX_LAYERS} layers or models {_MAX_NESTED} deep; "
                "expected a smaller model"
            )
        places = list(_places(layers, path))
        order = list(range(len(layers)))
        if kind != "Sequential":
            order = self._order(layers, config)
        for number in order:
            layer, place = layers[number], places[number]
            own = _own_name(layer)
            if class_of(layer) in MODELS and not is_custom(layer):
                yield from self.model(layer, f"{place}/", group or own, depth + 1)
                continue
            node = _node(layer)
            mask = _tensors(child(node, "kwargs").get("mask"))
            yield Entry(
                kind=class_of(layer),
                name=self._unique(own, place),
                own=own,
                config={**child(layer, "config"), "__custom__": is_custom(layer)},
                path=place,
                group=group or own,
                nested=group is not None,
                mask=bool(mask),
                slices=_slices(layer),
            )

    def _unique(self, own: str, place: str) -> str:
        """Return a name for the network that no other layer has."""
        name = own if own.isprintable() and 0 < len(own) <= 48 else place.rpartition("/")[2]
        unique, number = name, 1
        while unique in self._names:
            unique, number = f"{name}_{number}", number + 1
        self._names.add(unique)
        return unique

    def _order(self, layers: list[Config], config: Config) -> list[int]:
        """Return the layers' numbers along the one path from the input to the output."""
        numbers = {_own_name(layer): number for number, layer in enumerate(layers)}
        outputs = _references(config.get("output_layers"))
        if len(outputs) != 1:
            self._problems.append(
                f"{self._source}: the model has {len(outputs)} outputs; expected one"
            )
            return []
        order: list[int] = []
        following = outputs[0]
        while following[0] in numbers and len(order) <= len(layers):
            name, node, tensor = following
            layer = layers[numbers[name]]
            order.append(numbers[name])
            # A nested model's first node in Keras 2 is the model itself.
            first = node == 0 or (node == 1 and class_of(layer) in MODELS)
            if not first or tensor != 0 or len(_calls(layer)) > 1:
                self._problems.append(
                    f"{self._source}: layer {name[:80]!a} is used more than once, or its state "
                    "is used; expected a chain of layers, each with one use"
                )
                return []
            inputs = _inputs(layer)
            if not inputs:
                break
            if len(inputs) > 1:
                self._problems.append(
                    f"{self._source}: layer {name[:80]!a}, a {class_of(layer)!a}, takes "
                    f"{len(inputs)} tensors (branches or an initial state); expected a chain of "
                    "layers"
                )
                return []
            following = inputs[0]
        if not order or len(order) > len(layers) or class_of(layers[order[-1]]) != "InputLayer":
            self._problems.append(
                f"{self._source}: the layers form no chain from an input to the output"
            )
            return []
        for number in sorted(set(range(len(layers))) - set(order)):
            kind, own = class_of(layers[number]), _own_name(layers[number])[:80]
            if kind not in MASKS or is_custom({**layers[number], "registered_name": None}):
                self._problems.append(
                    f"{self._source}: layer {own!a}, a {kind!a}, lies beside the chain "
                    "from input to output; expected one chain without branches"
                )
        return order[::-1]


def _places(layers: list[Config], path: str) -> Iterator[str]:
    """Yield for each layer its group of weights: class and number within the class."""
    counts: dict[str, int] = {}
    for layer in layers:
        kind = snake(class_of(layer).rpartition(">")[2])
        number = counts[kind] = counts.get(kind, -1) + 1
        yield f"{path}layers/{kind}_{number}" if number else f"{path}layers/{kind}"


def _own_name(layer: Config) -> str:
    name = child(layer, "config").get("name", layer.get("name"))
    return name if isinstance(name, str) else ""


def _calls(layer: Config) -> list[Any]:
    nodes = layer.get("inbound_nodes")
    return nodes if isinstance(nodes, list) else []


def _node(layer: Config) -> Config:
    """Return the call of a layer as Keras 3 writes it: args and kwargs."""
    calls = _calls(layer)
    return calls[0] if calls and isinstance(calls[0], dict) else {}


def _inputs(layer: Config) -> list[tuple[str, int, int]]:
    """Return the tensors that a layer's call takes, its mask left out."""
    found = []
    for call in _calls(layer):
        if isinstance(call, dict):  # Keras 3
            others = {k: v for k, v in child(call, "kwargs").items() if k != "mask"}
            found += _tensors([call.get("args"), others])
        elif isinstance(call, list):  # Keras 2: [[name, node, tensor, kwargs], ...]
            found += _references(call)
            found += _references([item for entry in call for item in _keyword_tensors(entry)])
    return found


def _keyword_tensors(entry: Any) -> list[Any]:
    """Return the references in a Keras 2 call's keyword arguments, as initial_state."""
    kwargs = entry[3] if isinstance(entry, list) and len(entry) > 3 else {}
    values = list(kwargs.values()) if isinstance(kwargs, dict) else []
    flat = [item for value in values for item in (value if isinstance(value, list) else [])]
    return [item for item in (*values, *flat) if isinstance(item, list)]


def _references(value: Any) -> list[tuple[str, int, int]]:
    """Return [name, node, tensor] triples: one alone, or a list of them."""
    if not isinstance(value, list):
        return []
    found = []
    for item in [value] if value and isinstance(value[0], str) else value:
        if isinstance(item, list) and len(item) >= 3 and isinstance(item[0], str):
            node, tensor = (n if isinstance(n, int) else -1 for n in item[1:3])
            found.append((item[0], node, tensor))
    return found


def _tensors(value: Any) -> list[tuple[str, int, int]]:
    """Return the tensors of Keras 3's __keras_tensor__ objects, wherever in the arguments."""
    found, waiting = [], [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, list):
            waiting += item
        elif isinstance(item, dict) and item.get("class_name") == "__keras_tensor__":
            found += _references(child(item, "config").get("keras_history"))
        elif isinstance(item, dict):
            waiting += item.values()
    return found


def _slices(layer: Config) -> tuple[Any, ...]:
    """Return the index by which Keras 2 or 3 takes a part of a tensor, None where it takes all."""
    calls = _calls(layer)
    index: Any = None
    if class_of(layer) == "GetItem":
        args = _node(layer).get("args")
        index = args[1] if isinstance(args, list) and len(args) > 1 else None
    elif class_of(layer) == "SlicingOpLambda" and calls and isinstance(calls[0], list):
        last = calls[0][-1] if calls[0] else None
        index = last.get("slice_spec") if isinstance(last, dict) else None
    found: list[Any] = []
    for item in index if isinstance(index, list) else ():
        limits = child(item, "config") or item if isinstance(item, dict) else item
        whole = limits == {"start": None, "stop": None, "step": None}
        found.append(None if whole else item)
    return tuple(found)
