"""The instructions of an image, by the objdump that comes with its compiler."""

import re
from dataclasses import dataclass

from ..errors import ToolError
from .build import BUILD_TIMEOUT, Image
from .tools import call, said, tool_beside

_LINE = re.compile(
    r"^ *([0-9a-f]+):\t([0-9a-f ]+?) *\t([^\t\n]+)(?:\t([^\t\n]*).*)?$", re.MULTILINE
)
"""Address, the bytes in groups, mnemonic, operands; a comment may follow."""


@dataclass(frozen=True)
class Instruction:
    """An instruction at an address, of `size` bytes, as objdump writes it."""

    address: int
    size: int
    mnemonic: str
    operands: str


def disassemble(image: Image) -> dict[int, Instruction]:
    """Return the image's instructions by address.

    Raises NotKnownError where objdump is not installed.
    """
    objdump = tool_beside(image.target, "objdump")
    what = f"disassembling {image.elf.name}"
    command = [objdump, "--disassemble", image.elf.name]
    result = call(command, image.folder, timeout=BUILD_TIMEOUT, what=what)
    if result.returncode != 0:
        raise ToolError(f"{what} failed:\n{said(result)}")
    return read_disassembly(result.stdout.decode(errors="replace"))


def read_disassembly(text: str) -> dict[int, Instruction]:
    """Return the instructions of objdump's output by address."""
    found = (
        Instruction(int(at, 16), len(code.replace(" ", "")) // 2, mnemonic.strip(), operands)
        for at, code, mnemonic, operands in _LINE.findall(text)
    )
    return {instruction.address: instruction for instruction in found}
