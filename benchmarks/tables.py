"""The sections of docs/performance.md, as lines of Markdown."""

from collections.abc import Iterator

from lstmgen.bench import BenchResult
from lstmgen.codegen import EFFORTS
from lstmgen.quantized import PRECISIONS
from lstmgen.target import load_target

from figures import (
    CLASSES,
    CMSIS_NN,
    CMSIS_NN_DENSE,
    CMSIS_NN_FLASH,
    CMSIS_NN_FLASH_SMALL,
    CMSIS_NN_SOFTMAX,
    FLASH_GOALS,
    HAR_GOALS,
    MLI,
    SHAPES,
    STATE_GOAL,
    goal,
)
from models import HAR, HAR_STEPS, har_inference, head_instructions, measured, weighed

MISSED = "Goals missed: "


def core_section(name: str) -> Iterator[str]:
    """Yield what the six shapes take on a core, and the dense layers behind them."""
    yield from [load_target(name).description, ""]
    yield from _heading([f"{shape} {SHAPES[shape]}" for shape in SHAPES])
    missed: list[str] = []
    for precision in PRECISIONS:
        results = {shape: measured(name, shape, precision) for shape in SHAPES}
        yield _row(f"**{precision}**", [_cell(result) for result in results.values()])
        if any(goal(name, precision, shape) for shape in SHAPES):
            cells = []
            for shape, result in results.items():
                text, short = _goal(result, goal(name, precision, shape))
                cells.append(text)
                if short:
                    missed.append(f"{precision} {shape} {short}")
            yield _row("goal", cells)
        theirs = CMSIS_NN.get(precision, {}).get(name)
        if theirs:
            counts = [_count(result) for result in results.values()]
            yield _row("CMSIS-NN", _beside(counts, theirs))
        yield _row("spent on", [_spent(result) for result in results.values()])
        sizes = [_size(result) for result in results.values()]
        yield _row("code + weights, state, stack", sizes)
    yield from ["", *_heading([f"{s} {(SHAPES[s][1], CLASSES[s])}" for s in SHAPES])]
    yield from _dense_rows(name)
    if missed:
        yield from ["", MISSED + "; ".join(missed)]


def _dense_rows(name: str) -> Iterator[str]:
    for precision in PRECISIONS:
        ours = [head_instructions(name, shape, precision, "linear") for shape in SHAPES]
        yield _row(f"**{precision}**, dense", [str(count or "-") for count in ours])
        fc = CMSIS_NN_DENSE.get(precision, {}).get(name)
        if fc:
            yield _row("CMSIS-NN", _beside(ours, fc))
        ours = [
            head_instructions(name, shape, precision, "softmax") if CLASSES[shape] > 1 else None
            for shape in SHAPES
        ]
        yield _row(f"**{precision}**, dense + softmax", [str(count or "-") for count in ours])
        if fc and precision == "q7":
            both = tuple(a + b for a, b in zip(fc, CMSIS_NN_SOFTMAX[name], strict=True))
            cells = _beside(ours, both)
            yield _row("CMSIS-NN", [
                cell if CLASSES[shape] > 1 else "-"
                for shape, cell in zip(SHAPES, cells, strict=True)
            ])


def har_section() -> Iterator[str]:
    """Yield the instructions of an inference of embARC MLI's activity recogniser."""
    yield from [
        f"embARC MLI's activity recogniser on the Cortex-M4: {HAR_STEPS} steps of 9 inputs through",
        "dense 32 + ReLU, LSTM 32 and LSTM 32, then dense 6 once; 2,134,208 multiply-accumulates.",
        "Trained weights and a window of real data; a step's instructions times their number, and",
        "the last layer's once. MLI: version 2.0.2, its reference code at -O2, which also converts",
        "the inputs from float. Formats and mid shifts are what `lstmgen build` chooses.",
        "",
    ]
    if not HAR.is_file():
        yield f"Not measured: ../shared/data/har/{HAR.name} is absent."
        return
    yield "| | an inference | a step | the last layer | goal | embARC MLI |"
    yield "|---|---:|---:|---:|---:|---:|"
    missed = []
    for precision in PRECISIONS:
        total, step, head = har_inference(precision)
        (kind, theirs), most = MLI[precision], HAR_GOALS[precision]
        if total > most:
            missed.append(f"{precision} {total} ({_percent(total, most)} over)")
        yield _row(f"**{precision}**", [
            f"**{total}**", str(step), str(head), f"{most}{', missed' if total > most else ''}",
            f"{theirs / 1e6:.1f} M {kind}, {theirs / total:.1f} x",
        ])
    if missed:
        yield from ["", MISSED + "; ".join(missed)]


def flash_section() -> Iterator[str]:
    """Yield what LSTM 32, dense 6 and softmax take of flash and RAM."""
    yield from [
        "LSTM 32 of 9 inputs, dense 6 and softmax on the Cortex-M4, at -Os, bytes. CMSIS-NN's LSTM",
        f"alone, without softmax: {CMSIS_NN_FLASH} at -Ofast, {CMSIS_NN_FLASH_SMALL} at -Os, code",
        "and tables. The state does not depend on the number of time steps.",
        "",
        "| | code + tables | goal | weights | state | stack | instructions a step |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    missed = []
    for precision in PRECISIONS:
        for effort in EFFORTS:
            result = weighed(precision, effort)
            code, tables = result.code_bytes, result.table_bytes
            most = FLASH_GOALS.get(effort) if precision == "q7" else None
            if most is not None and code + tables > most:
                missed.append(f"{effort} {code + tables} (goal {most})")
            if result.state_bytes > STATE_GOAL * SHAPES["B"][1]:
                missed.append(f"{precision} state {result.state_bytes} (goal {STATE_GOAL} k)")
            yield _row(f"{precision} {effort}", [
                f"{code} + {tables} = **{code + tables}**", str(most or ""),
                str(result.weights_bytes), str(result.state_bytes), str(result.stack_bytes),
                str(result.instructions_per_step),
            ])
    if missed:
        yield from ["", MISSED + "; ".join(missed)]


def _heading(columns: list[str]) -> list[str]:
    return [_row("", columns), "|---|" + "---:|" * len(columns)]


def _row(name: str, cells: list[str]) -> str:
    return f"| {name} | " + " | ".join(cells) + " |"


def _count(result: BenchResult | None) -> int | None:
    return None if result is None else result.instructions_per_step


def _cell(result: BenchResult | None) -> str:
    if result is None or result.instructions_per_step is None:
        return "-"
    per_mac = result.instructions_per_step / result.macs_per_step
    return f"**{result.instructions_per_step}** ({per_mac:.3f})"


def _goal(result: BenchResult | None, most: float | None) -> tuple[str, str]:
    """Return the goal, marked if it is missed, and by how much it then is."""
    if result is None or result.instructions_per_step is None or most is None:
        return "-", ""
    per_mac = result.instructions_per_step / result.macs_per_step
    if per_mac <= most:
        return f"{most}", ""
    return f"{most} **missed**", f"{per_mac:.3f}, goal {most} ({_percent(per_mac, most)} over)"


def _percent(value: float, most: float) -> str:
    return f"{100 * (value / most - 1):.1f} %"


def _spent(result: BenchResult | None) -> str:
    """Return the parts of a step, and the estimate of its cycles where there is one."""
    if result is None or result.parts is None:
        return "-"
    parts, cycles = result.parts, result.estimated_cycles
    text = f"{parts.matrix_vector} + {parts.elementwise} + {parts.rest}"
    if cycles is None:
        return text
    span = f"{cycles.low}" if cycles.low == cycles.high else f"{cycles.low} to {cycles.high}"
    return f"{text}; est. {span} cycles"


def _beside(ours: list[int | None], theirs: tuple[int, ...]) -> list[str]:
    return [
        str(other) if own is None else f"{other}, {other / own:.1f} x"
        for own, other in zip(ours, theirs, strict=True)
    ]


def _size(result: BenchResult | None) -> str:
    if result is None:
        return "-"
    return (
        f"{result.code_bytes} + {result.weights_bytes}, {result.state_bytes}, "
        f"{result.stack_bytes}"
    )
