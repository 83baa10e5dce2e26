"""The way from input to output: the calls of a step, and the passes over a whole sequence."""

from dataclasses import dataclass

from ..layers import Direction, Ends, Merge
from ..network import Outputs
from .ctext import call
from .gru import LayerView, RecurrentView
from .layers import DenseView


@dataclass(frozen=True)
class Buffer:
    """A local array that carries a layer's values to the next one."""

    type: str
    name: str
    size: str


@dataclass(frozen=True)
class Part:
    """A run of layers: the local arrays it needs and the calls, as C statements.

    skip: whether one of them adds the network's own input, `x`.
    """

    buffers: tuple[Buffer, ...]
    calls: tuple[str, ...]
    skip: bool = False


@dataclass(frozen=True)
class Stage:
    """A layer on the way: itself, or both halves of a bidirectional one.

    merge: how the halves' values become one; ends: what their last values are.
    width: of the values handed on.
    """

    parts: tuple[LayerView, ...]
    direction: Direction
    merge: Merge | None
    ends: Ends
    width: int

    @property
    def value_type(self) -> str:
        """The C type of the values handed on."""
        view = self.parts[0]
        return view.h.type if isinstance(view, RecurrentView) else view.y.type


@dataclass(frozen=True)
class Pass:
    """One pass of a layer over a sequence.

    title: of the layer. backward: whether it goes from the last step to the first; then `back`
    is the step that it takes, and `step` counts. only_newest: whether just the last is taken.
    statements: what it does for a step.
    """

    title: str
    backward: bool
    only_newest: bool
    statements: tuple[str, ...]


@dataclass(frozen=True)
class Whole:
    """How `run` goes over a whole sequence.

    value: the C type of the values between layers. even, odd: widths of the two areas of the
    caller's buffer that stages write by turns, 0 for one that is not needed.
    newest: how the last values become `newest`, of `newest_width`, for the head; empty if the
    head goes over all steps, from `sequence`.
    """

    value: str
    even: int
    odd: int
    passes: tuple[Pass, ...]
    newest: tuple[str, ...]
    newest_width: int
    sequence: str | None
    sequence_width: int

    @property
    def width(self) -> int:
        """Values of the buffer for each step."""
        return self.even + self.odd

    @property
    def helpers(self) -> frozenset[str]:
        """The functions of this kind that it calls."""
        text = "".join([*self.newest, *(line for p in self.passes for line in p.statements)])
        return frozenset(way for way in ("copy", "halve", "multiply") if f"_{way}(" in text)


def make_part(stages: list[Stage], source: str, output: str | None) -> Part:
    """Return the calls that take `source` through `stages`, the last writing to `output`."""
    buffers, calls, skip = [], [], False
    for stage in stages:
        layer = stage.parts[0]
        if isinstance(layer, RecurrentView):
            h, c = f"state->{layer.h_field}", f"state->{layer.c_field}"
            calls.append(call(layer.function, [source, h, c]))
            source = h
            continue
        target = output if output and stage is stages[-1] else f"{layer.c_name}_y"
        if target != output:
            buffers.append(Buffer(layer.y.type, target, f"{layer.macro}_OUTPUTS"))
        adds = isinstance(layer, DenseView) and layer.skip is not None
        calls.append(call(layer.function, [source, *(["x"] if adds else []), target]))
        source, skip = target, skip or adds
    return Part(tuple(buffers), tuple(calls), skip)


def make_whole(
    stages: list[Stage], head: list[Stage], outputs: Outputs, prefix: str
) -> Whole:
    """Return the passes of the stages up to the last recurrent one.

    head: those behind it. Raises AssertionError if values between layers differ in type.
    """
    inputs = f"{prefix.upper()}_INPUTS"
    areas = {"even": 0, "odd": 0}
    passes: list[Pass] = []
    source, width = "x", inputs
    for number, stage in enumerate(stages):
        last = stage is stages[-1]
        target: str | None = "odd" if number % 2 else "even"
        if last and outputs == "last":
            target = None
        elif last and not head:
            target = "y"
        if target in areas:
            areas[target] = max(areas[target], stage.width)
        newest = last and outputs == "last"
        passes += [
            _pass(stage, number, prefix, source, width, target, newest)
            for number in range(len(stage.parts))
        ]
        source, width = target or "", f"{stage.width}u"
    types = {stage.value_type for stage in stages}
    assert len(types) == 1, f"values between layers are {types}"
    last_stage = stages[-1]
    return Whole(
        value=types.pop(),
        even=areas["even"],
        odd=areas["odd"],
        passes=tuple(passes),
        newest=tuple(_newest(last_stage, prefix)) if outputs == "last" else (),
        newest_width=last_stage.width,
        sequence=source if outputs == "sequence" and head else None,
        sequence_width=last_stage.width,
    )


def _pass(
    stage: Stage,
    number: int,
    prefix: str,
    source: str,
    width: str,
    target: str | None,
    newest: bool,
) -> Pass:
    """Return the pass of a stage's layer of that number; newest: whether its last values count."""
    layer = stage.parts[number]
    backward = number == 1 or stage.direction != "forward"
    taken = "back" if backward else "step"
    put = "step" if stage.direction == "flipped" else taken
    only_newest = newest and number == 1 and stage.ends == "step"
    x = f"&{source}[{'step' if only_newest else taken} * {width}]"
    if not isinstance(layer, RecurrentView):
        y = f"&{target}[{put} * {stage.width}u]"
        statements = [call(layer.function, [x, y], 8)]
        return Pass(layer.title, backward, only_newest, tuple(statements))
    arguments = [x, f"state->{layer.h_field}", f"state->{layer.c_field}"]
    statements = [call(layer.function, arguments, 8)]
    if target is not None:
        before = stage.parts[0]
        offset = before.width if number == 1 and isinstance(before, RecurrentView) else 0
        at = f"{put} * {stage.width}u"
        if stage.merge == "concat" and offset:
            at = f"({at}) + {offset}u"
        way = _way(stage.merge) if number == 1 else "copy"
        values = [f"state->{layer.h_field}", layer.h_count, f"&{target}[{at}]"]
        statements.append(call(f"{prefix}_{way}", values, 8))
    return Pass(layer.title, backward, only_newest, tuple(statements))


def _way(merge: Merge | None) -> str:
    """Return the function that joins the second direction's values to the first's."""
    ways = {"multiply": "multiply", "sum": "halve", "average": "halve"}
    return ways.get(str(merge), "copy")


def _newest(stage: Stage, prefix: str) -> list[str]:
    """Return the statements that put the last values of a stage together in `newest`."""
    statements = []
    offset = 0
    for number, layer in enumerate(stage.parts):
        assert isinstance(layer, RecurrentView)
        way = _way(stage.merge) if number == 1 else "copy"
        target = f"&newest[{offset}]" if offset and way == "copy" else "newest"
        arguments = [f"state->{layer.h_field}", layer.h_count, target]
        statements.append(call(f"{prefix}_{way}", arguments, 8))
        offset += layer.width
    return statements
