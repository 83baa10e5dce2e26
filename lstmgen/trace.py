"""A recorded run of the emulator, the commands that repeat it in C, and the comparison.

The C answers each command with its whole state and its outputs (harness/verify.c); what
it must answer is known from the trace.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from .qformat import IntArray

FILLER = 0xA5
"""What each byte of the outputs holds before the C writes them; harness/verify.c has it."""


class Operation(IntEnum):
    """The commands of harness/verify.c."""

    END = 0
    RESET = 1
    STEP = 2
    RUN_LAST = 3
    RUN_SEQUENCE = 4
    SELFTEST = 5


@dataclass(frozen=True, eq=False)
class Trace:
    """All that a network computes on B sequences of T steps.

    x: (B, T, n) raw inputs, each of input_bytes; y: (B, T, m) outputs, each of output_bytes.
    h, c: for each recurrent layer (B, T+1, k), from the state after reset on.
    sequence: whether `run` gives the outputs of every step, or of the last one only.
    whole: whether the network takes whole sequences only. Then step t of h and c is the state
        after a run of the first t steps, and y its outputs: (B, T, m), or (B, T, T, m) where
        `run` gives those of every step.
    """

    x: IntArray
    input_bytes: int
    output_bytes: int
    sequence: bool
    layers: tuple[str, ...]
    h: tuple[IntArray, ...]
    c: tuple[IntArray, ...]
    output: str
    y: IntArray
    whole: bool = False

    @property
    def outputs(self) -> int:
        """The number m of outputs at a step."""
        return int(self.y.shape[-1])

    @property
    def sequences(self) -> int:
        """The number B of sequences."""
        return int(self.x.shape[0])

    @property
    def steps(self) -> int:
        """The number T of steps of each sequence."""
        return int(self.x.shape[1])

    @property
    def filler(self) -> int:
        """The output that the C has not written."""
        return int.from_bytes(bytes([FILLER] * self.output_bytes), "little", signed=True)


@dataclass(frozen=True)
class Record:
    """One command: `steps` steps of a sequence from step `start` on, in place `instance`."""

    operation: Operation
    sequence: int
    instance: int
    start: int = 0
    steps: int = 0

    @property
    def by_run(self) -> bool:
        """Whether the steps are taken by one call of `run`."""
        return self.operation in (Operation.RUN_LAST, Operation.RUN_SEQUENCE)


@dataclass(frozen=True)
class Difference:
    """The first number that is not what the emulator computed.

    step: counted from 0; -1 is the state after reset. tensor: h, c or y of `layer`.
    by_run: whether `run` computed it, or `step`.
    """

    layer: str
    tensor: str
    index: int
    step: int
    sequence: int
    got: int
    expected: int
    by_run: bool

    def __str__(self) -> str:
        when = "after reset" if self.step < 0 else f"at step {self.step}"
        how = " (by run)" if self.by_run else ""
        return (
            f"layer {self.layer}, {self.tensor}[{self.index}] {when} of sequence "
            f"{self.sequence}{how}: got {self.got}, expected {self.expected}"
        )


def records_of(trace: Trace, instances: int, piece: int) -> list[list[Record]]:
    """Return the commands that check a trace, in independent blocks.

    Sequences come in groups of `instances`. A group runs once step by step, its members by
    turns, and once by `run` in pieces of growing length, 0 to `piece` steps. What takes whole
    sequences is given the first 0, 1, ... up to `piece` steps of each.
    """
    if trace.whole:
        return [[record] for record in _beginnings(trace, instances, piece)]
    blocks = []
    for first in range(0, trace.sequences, instances):
        group = list(enumerate(range(first, min(first + instances, trace.sequences))))
        resets = [Record(Operation.RESET, sequence, place) for place, sequence in group]
        steps = [
            Record(Operation.STEP, sequence, place, t, 1)
            for t in range(trace.steps)
            for place, sequence in group
        ]
        blocks.append(resets + steps)
        blocks.append(resets + list(_pieces(trace, group, piece)))
    return blocks


def _beginnings(trace: Trace, instances: int, piece: int) -> Iterator[Record]:
    """Yield a run of each beginning of each sequence, the instances by turns."""
    operation = Operation.RUN_SEQUENCE if trace.sequence else Operation.RUN_LAST
    place = 0
    for length in range(min(trace.steps, piece) + 1):
        for sequence in range(trace.sequences):
            yield Record(operation, sequence, place, 0, length)
            place = (place + 1) % instances


def _pieces(trace: Trace, group: list[tuple[int, int]], piece: int) -> Iterator[Record]:
    """Yield the calls of `run`, the members of a group by turns and each with other lengths."""
    lengths = [length for length in (0, 1, 2, 3, 5, 8, 13, 16) if length < piece] + [piece]
    operation = Operation.RUN_SEQUENCE if trace.sequence else Operation.RUN_LAST
    done = dict.fromkeys((place for place, _ in group), 0)
    turn = 0
    while any(at < trace.steps for at in done.values()):
        for place, sequence in group:
            start = done[place]
            if start < trace.steps:
                length = min(lengths[(turn + place) % len(lengths)], trace.steps - start)
                yield Record(operation, sequence, place, start, length)
                done[place] = start + length
        turn += 1


def commands_of(trace: Trace, records: Sequence[Record]) -> bytes:
    """Return the records as the bytes that harness/verify.c reads; without an end."""
    x = trace.x.astype(f"<i{trace.input_bytes}")
    parts = []
    for record in records:
        parts.append(command(record.operation, record.instance, record.steps))
        parts.append(x[record.sequence, record.start : record.start + record.steps].tobytes())
    return b"".join(parts)


def command(operation: Operation, instance: int = 0, steps: int = 0) -> bytes:
    """Return the four bytes of one command."""
    return bytes([operation, instance, steps & 255, steps >> 8])


def expected_of(trace: Trace, record: Record) -> IntArray:
    """Return the words with which right C answers the record's command."""
    end = record.start + record.steps
    parts = []
    for h, c in zip(trace.h, trace.c, strict=True):
        parts += [h[record.sequence, end], c[record.sequence, end]]
    if record.by_run and record.steps == 0:
        parts.append(np.full(trace.outputs, trace.filler))
    elif record.operation != Operation.RESET:
        every = record.operation == Operation.RUN_SEQUENCE
        if every and trace.whole:
            rows = trace.y[record.sequence, end - 1, :end]
        else:
            rows = trace.y[record.sequence, record.start if every else end - 1 : end]
        parts.append(rows.reshape(-1))
    return np.concatenate(parts)


def first_difference(
    trace: Trace, records: Sequence[Record], answers: IntArray
) -> Difference | None:
    """Return the first difference between the answers to `records` and the trace.

    First is: by `step` before by `run`, then the earliest step, then the layers in order
    (of each the cell before the hidden state), then the outputs.
    """
    expected = [expected_of(trace, record) for record in records]
    ends = np.cumsum([len(words) for words in expected])
    whole = np.concatenate(expected)
    wrong = np.unique(np.searchsorted(ends, np.flatnonzero(answers != whole), side="right"))
    if not len(wrong):
        return None

    found = []
    for number in wrong:
        words = answers[ends[number] - len(expected[number]) : ends[number]]
        found.append(_in_record(trace, records[number], words, expected[number]))
    return min(found, key=lambda difference: rank(trace, difference))


def rank(trace: Trace, found: Difference) -> tuple[int, ...]:
    """Return what differences are ordered by."""
    place = 2 * len(trace.layers)
    if found.tensor != "y":
        place = 2 * trace.layers.index(found.layer) + (found.tensor == "h")
    return (found.by_run, found.step, place, found.sequence, found.index)


def _in_record(trace: Trace, record: Record, got: IntArray, expected: IntArray) -> Difference:
    """Return the first difference within the answer to one command."""
    found = []
    at = 0
    end = record.start + record.steps - 1
    for layer, h, c in zip(trace.layers, trace.h, trace.c, strict=True):
        for tensor, values in (("h", h), ("c", c)):
            found += _first(layer, tensor, end, at, values.shape[2], record, got, expected)
            at += values.shape[2]
    width = trace.outputs
    rows = range(at, len(expected), width)
    for step, start in enumerate(rows, end + 1 - len(rows)):
        found += _first(trace.output, "y", step, start, width, record, got, expected)
    return min(found, key=lambda difference: rank(trace, difference))


def _first(
    layer: str,
    tensor: str,
    step: int,
    start: int,
    width: int,
    record: Record,
    got: IntArray,
    expected: IntArray,
) -> list[Difference]:
    """Return the first difference of one vector, or nothing."""
    part = slice(start, start + width)
    wrong = np.flatnonzero(got[part] != expected[part])
    if not len(wrong):
        return []
    index = int(wrong[0])
    values = int(got[start + index]), int(expected[start + index])
    return [Difference(layer, tensor, index, step, record.sequence, *values, record.by_run)]
