"""lstmgen: trained LSTM networks as quantized, bit-exact C for microcontrollers.

    network = lstmgen.load("model.npz")
    q = lstmgen.quantize(network, "w8a16", calibration)
    y = lstmgen.Emulator(q).run(q.x.to_raw(x))
    files = lstmgen.build(q, lstmgen.load_target("arm"), name="kws")
"""

__version__ = "0.1.0"

from .build import build
from .codegen import generate
from .emulator import Emulator
from .network import Dense, Lstm, Network
from .quantize import quantize
from .quantized import NUMERICS_VERSION, QuantizedNetwork
from .readers import ReadOptions
from .readers import read_model as load
from .target import load_target
from .verify import verify

__all__ = [
    "NUMERICS_VERSION",
    "Dense",
    "Emulator",
    "Lstm",
    "Network",
    "QuantizedNetwork",
    "ReadOptions",
    "__version__",
    "build",
    "generate",
    "load",
    "load_target",
    "quantize",
    "verify",
]
