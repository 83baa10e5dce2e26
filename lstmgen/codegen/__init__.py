"""C from a quantized network: what to print is decided in Python, how it looks in templates."""

from .render import (
    OUTPUTS,
    Footprint,
    SelfTestFacts,
    TargetFacts,
    footprint,
    generate,
    port_header,
)

__all__ = [
    "OUTPUTS",
    "Footprint",
    "SelfTestFacts",
    "TargetFacts",
    "footprint",
    "generate",
    "port_header",
]
