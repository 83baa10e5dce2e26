"""lstmgen: trained LSTM networks as quantized, bit-exact C for microcontrollers.

    network = lstmgen.load("model.npz")
    q = lstmgen.quantize(network, "w8a16", calibration)
    emulator = lstmgen.Emulator(q, batch=len(x))
    y = q.y.to_real(emulator.run(q.to_raw(x)))
    files = lstmgen.build(q, lstmgen.load_target("arm"), name="kws")
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .codegen import generate
    from .emulator import Emulator
    from .layers import Dense, Lstm
    from .network import Network
    from .output import build
    from .quantized import NUMERICS_VERSION, QuantizedNetwork
    from .quantizer import quantize
    from .readers import ReadOptions
    from .readers import read_model as load
    from .target import load_target
    from .verification import verify

__version__ = "0.1.0"

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

# Imported on first use, so that `lstmgen --help` need not wait for numpy.
_HOMES = {
    "NUMERICS_VERSION": "quantized",
    "Dense": "layers",
    "Emulator": "emulator",
    "Lstm": "layers",
    "Network": "network",
    "QuantizedNetwork": "quantized",
    "ReadOptions": "readers",
    "build": "output",
    "generate": "codegen",
    "load": "readers",
    "load_target": "target",
    "quantize": "quantizer",
    "verify": "verification",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'lstmgen' has no attribute {name!r}")
    module = importlib.import_module(f".{_HOMES[name]}", __name__)
    return getattr(module, "read_model" if name == "load" else name)
