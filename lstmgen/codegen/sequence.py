"""The way from input to output: the calls of a step, and the passes over a whole sequence."""

from dataclasses import dataclass
from typing import Literal

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


Order = Literal["up", "down"]


@dataclass(frozen=True)
class Pass:
    """One pass of a layer over a sequence.

    layer: its view. reads: the order of the steps it takes. source, target: expressions of
    the arrays of all steps, and the values of a step in each; target None where only the state
    at the end counts. at: by what expression of `step` the values are placed.
    offset: of the layer's values among those of a step. merge: how they join what lies there.
    only_newest: whether just the newest step is taken.
    """

    layer: LayerView
    reads: Order
    source: str
    source_width: str
    target: str | None
    target_width: str
    writes: Order
    offset: int
    merge: Merge | None
    only_newest: bool


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
        """The functions that joining both directions' values takes."""
        text = " ".join([*self.newest, *(f"{p.merge}" for p in self.passes if p.merge)])
        ways = {"sum": "halve", "average": "halve", "multiply": "multiply", "concat": "copy"}
        found = {ways[way] for way in ways if way in text}
        found |= {name for name in ("halve", "multiply") if f"_{name}(" in text}
        if any(p.target is not None for p in self.passes) or "_copy(" in text or found:
            found.add("copy")
        return frozenset(found)


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
        passes += _passes(stage, source, width, target, last and outputs == "last")
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


def _passes(
    stage: Stage, source: str, width: str, target: str | None, last: bool
) -> list[Pass]:
    found = []
    offset = 0
    for number, layer in enumerate(stage.parts):
        backward = number == 1 or stage.direction != "forward"
        found.append(
            Pass(
                layer=layer,
                reads="down" if backward else "up",
                source=source,
                source_width=width,
                target=target,
                target_width=f"{stage.width}u",
                writes="down" if backward and stage.direction != "flipped" else "up",
                offset=offset if stage.merge == "concat" else 0,
                merge=stage.merge if number == 1 and stage.merge != "concat" else None,
                only_newest=last and number == 1 and stage.ends == "step",
            )
        )
        offset += layer.width if isinstance(layer, RecurrentView) else 0
    return found


def _newest(stage: Stage, prefix: str) -> list[str]:
    """Return the statements that put the last values of a stage together in `newest`."""
    statements = []
    offset = 0
    for number, layer in enumerate(stage.parts):
        assert isinstance(layer, RecurrentView)
        joined = number == 1 and stage.merge not in (None, "concat")
        way = {"multiply": "multiply"}.get(str(stage.merge), "halve") if joined else "copy"
        target = f"&newest[{offset}]" if offset and not joined else "newest"
        arguments = [f"state->{layer.h_field}", f"{layer.h_count}", target]
        statements.append(call(f"{prefix}_{way}", arguments))
        offset += layer.width
    return statements
