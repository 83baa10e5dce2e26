"""Compile a generated model with a target's real tools, run it, count and weigh it."""

from .build import Image, Sources, build_image
from .elf import Elf, read_elf
from .execute import run_image
from .size import Footprint, footprint
from .tools import find_tool, missing_tools, tool_versions

__all__ = [
    "Elf",
    "Footprint",
    "Image",
    "Sources",
    "build_image",
    "find_tool",
    "footprint",
    "missing_tools",
    "read_elf",
    "run_image",
    "tool_versions",
]
