"""lstmgen: trained LSTM networks as quantized, bit-exact C for microcontrollers.

    network = lstmgen.load("model.npz")
    q = lstmgen.quantize(network, "w8a16", calibration)
    y = lstmgen.Emulator(q).run(q.x.to_raw(x))
    files = lstmgen.build(q, lstmgen.load_target("arm"), name="kws")
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .build import build
    from .emulator import Emulator
    from .network import Dense, Lstm, Network
    from .quantize import quantize
    from .quantized import NUMERICS_VERSION, QuantizedNetwork
    from .readers import ReadOptions
    from .readers import read_model as load
    from .target import load_target
    from .verify import verify

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
    "load",
    "load_target",
    "quantize",
    "verify",
]

# Imported on first use: `lstmgen --help` needs none of them.
_PUBLIC = {
    "NUMERICS_VERSION": "quantized",
    "Dense": "network",
    "Emulator": "emulator",
    "Lstm": "network",
    "Network": "network",
    "QuantizedNetwork": "quantized",
    "ReadOptions": "readers",
    "build": "build",
    "load": "readers.read_model",
    "load_target": "target",
    "quantize": "quantize",
    "verify": "verify",
}


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'lstmgen' has no attribute {name!r}")
    module, _, attribute = _PUBLIC[name].partition(".")
    return getattr(importlib.import_module(f".{module}", __name__), attribute or name)
