"""C from a quantized network: what to print is decided in Python, how it looks in templates."""

from .kernels import EFFORTS, Effort
from .render import (
    OPTIONAL_OUTPUTS,
    OUTPUTS,
    Footprint,
    LayerBytes,
    SelfTestFacts,
    TargetFacts,
    footprint,
    generate,
    port_header,
)

__all__ = [
    "EFFORTS",
    "OPTIONAL_OUTPUTS",
    "OUTPUTS",
    "Effort",
    "Footprint",
    "LayerBytes",
    "SelfTestFacts",
    "TargetFacts",
    "footprint",
    "generate",
    "port_header",
]
