"""C from a quantized network: what to print is decided in Python, how it looks in templates."""

from .contracts import Contract, Proof
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
    proof_harness,
)

__all__ = [
    "EFFORTS",
    "OPTIONAL_OUTPUTS",
    "OUTPUTS",
    "Contract",
    "Effort",
    "Footprint",
    "LayerBytes",
    "Proof",
    "SelfTestFacts",
    "TargetFacts",
    "footprint",
    "generate",
    "port_header",
    "proof_harness",
]
