"""Figures to compare with: the goals, and what other libraries need, with where they are from."""

from lstmgen.quantized import Precision

SHAPES = {"A": (1, 16), "B": (9, 32), "C": (28, 20), "D": (10, 128), "E": (1, 40), "F": (64, 64)}
"""Inputs n and units k of the LSTM layers that are measured."""

CLASSES = {"A": 1, "B": 6, "C": 10, "D": 12, "E": 1, "F": 8}
"""Outputs of the dense layer behind each."""

TARGETS = (
    "cortex-m0", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33", "cortex-m55", "riscv32",
    "riscv64", "host", "avr",
)

NO_ROOM = {"avr": "DF"}
"""Shapes whose weights are more than a target's constants may take."""

# Instructions per step of CMSIS-NN 99f736a (2026-07-15), arm_lstm_unidirectional_s8 and _s16
# (8-bit weights), arm-none-eabi-gcc 12.2.1 -O3, counted in the same QEMU (7.2) by the same
# method: one stateful call, batch 1, divided by its steps. Its q7 counterpart is s8, that of
# w8a16 is s16.
CMSIS_NN: dict[Precision, dict[str, tuple[int, ...]]] = {
    "q7": {
        "cortex-m0": (30319, 75780, 51720, 575380, 93602, 274218),
        "cortex-m3": (13342, 34448, 24258, 281113, 42183, 133642),
        "cortex-m4": (12401, 29462, 19864, 207146, 35786, 98438),
        "cortex-m7": (12428, 29487, 19889, 207173, 35813, 98463),
        "cortex-m33": (12307, 29237, 19724, 206268, 35522, 97990),
        "cortex-m55": (6533, 12174, 8871, 66681, 16069, 32230),
    },
    "w8a16": {
        "cortex-m0": (85762, 338652, 242994, 4070069, 422196, 1900584),
        "cortex-m3": (15393, 44769, 31265, 423837, 55741, 199664),
        "cortex-m4": (14104, 34703, 23506, 252382, 41754, 120057),
        "cortex-m7": (13866, 34206, 23201, 250352, 41132, 119048),
        "cortex-m33": (13948, 34352, 23288, 250996, 41332, 119356),
        "cortex-m55": (10863, 22007, 15008, 120723, 27117, 58058),
    },
}

# Instructions of a call of its arm_fully_connected_s8 and _s16 and of arm_softmax_s8, same
# version, compiler, emulator and method, for the output layers of the six shapes.
CMSIS_NN_DENSE: dict[Precision, dict[str, tuple[int, ...]]] = {
    "q7": {
        "cortex-m0": (429, 2003, 2501, 10634, 622, 4407),
        "cortex-m3": (258, 1014, 1263, 5712, 402, 2529),
        "cortex-m4": (195, 803, 1023, 3616, 258, 1500),
        "cortex-m55": (186, 442, 552, 1036, 212, 506),
    },
    "w8a16": {
        "cortex-m0": (1120, 11281, 12147, 85847, 2436, 29069),
        "cortex-m3": (228, 1368, 1616, 8400, 348, 3072),
        "cortex-m4": (190, 921, 1158, 4440, 262, 1790),
        "cortex-m55": (210, 688, 906, 1939, 249, 945),
    },
}
CMSIS_NN_SOFTMAX: dict[str, tuple[int, ...]] = {
    "cortex-m0": (2194, 12004, 19777, 23808, 2194, 15943),
    "cortex-m3": (662, 3283, 5299, 6465, 662, 4345),
    "cortex-m4": (667, 3308, 5340, 6514, 667, 4378),
    "cortex-m55": (728, 3555, 5731, 6969, 728, 4695),
}

CMSIS_NN_FLASH = 4408
"""Code and tables of its s8 LSTM alone on the Cortex-M4 at -Ofast, bytes; 3626 at -Os."""

CMSIS_NN_FLASH_SMALL = 3626

# Instructions of one inference of the activity recogniser of embARC MLI 2.0.2 (1027a95b), its
# reference C++ by arm-none-eabi-g++ 12.2.1 -O2, same emulator; the conversion of the inputs from
# float is among them. FX16 has 16-bit weights, FX16 x FX8 and SA8 8-bit ones.
MLI: dict[Precision, tuple[str, int]] = {
    "q15": ("FX16", 23_990_000),
    "w8a16": ("FX16 x FX8", 20_590_000),
    "q7": ("SA8", 43_870_000),
}
HAR_GOALS: dict[Precision, int] = {"q15": 1_900_000, "w8a16": 2_600_000, "q7": 2_300_000}

FLASH_GOALS = {"balanced": 4400, "size": 3000}
"""Bytes of code and tables: LSTM 32, dense 6 and softmax on the Cortex-M4 in q7."""

STATE_GOAL = 6
"""Bytes of RAM a unit."""

Goals = tuple[float | None, float | None, float | None]

_DSP: dict[Precision, Goals] = {
    "q7": (0.98, 1.12, 1.47),
    "w8a16": (1.15, 1.33, 1.70),
    "q15": (0.79, 0.92, 1.25),
}
# Instructions (AVR: cycles) per multiply-accumulate, of the shapes D and F; B, C and E; A.
GOALS: dict[str, dict[Precision, Goals]] = {
    "cortex-m0": {"q7": (2.05, 2.5, 3.5), "w8a16": (5.0, 5.7, 7.0), "q15": (5.0, 5.7, 7.0)},
    "cortex-m3": {"q7": (1.22, 1.47, 2.0), "w8a16": (2.3, 2.6, 3.2), "q15": (2.3, 2.6, 3.2)},
    "cortex-m4": _DSP,
    "cortex-m7": _DSP,
    "cortex-m33": _DSP,
    "cortex-m55": {
        "q7": (0.19, 0.32, 0.65), "w8a16": (0.34, 0.49, 0.82), "q15": (0.34, 0.49, 0.82)
    },
    "riscv32": {"q7": (2.1, 2.45, 3.15)},
    "host": {"q7": (0.22, 0.40, 0.72)},
    "avr": {"q7": (None, 13, 22)},
}


def goal(target: str, precision: Precision, shape: str) -> float | None:
    """Return how many instructions per multiply-accumulate are to be enough, if there is one."""
    goals = GOALS.get(target, {}).get(precision)
    return None if goals is None else goals[0 if shape in "DF" else 1 if shape in "BCE" else 2]
