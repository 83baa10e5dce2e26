"""Read ELF files: sections and symbols, for sizes and for filling in an input.

Every compiler used here writes ELF, so that one reader takes the place of each tool
chain's own `size` and `nm`.
"""

import struct
from dataclasses import dataclass
from pathlib import Path

from ..errors import ToolError

_SHT_PROGBITS, _SHT_SYMTAB, _SHT_NOBITS = 1, 2, 8
_SHF_ALLOC = 2
_STT_FUNC = 2

UNWINDING = (".eh_frame", ".ARM.exidx", ".ARM.extab")
"""Sections for exceptions of C++ and for debuggers; firmware in C leaves them out."""


@dataclass(frozen=True)
class Section:
    """A section; `occupies` says whether it takes room in the flash of a device."""

    name: str
    address: int
    offset: int
    size: int
    occupies: bool


@dataclass(frozen=True)
class Symbol:
    """A defined symbol with its address and size in bytes."""

    name: str
    address: int
    size: int
    section: Section
    is_function: bool


@dataclass(frozen=True)
class Elf:
    """The sections and the defined, named symbols of one file."""

    path: Path
    sections: tuple[Section, ...]
    symbols: dict[str, Symbol]

    @property
    def flash_bytes(self) -> int:
        """The bytes that the file's sections take in flash."""
        return sum(section.size for section in self.sections if section.occupies)

    def offset_of(self, symbol: Symbol) -> int:
        """Return where in the file the symbol's bytes lie."""
        start = symbol.section
        return start.offset + symbol.address - start.address


def read_elf(path: Path) -> Elf:
    """Read an object file or an executable of 32 or 64 bits; raises ToolError if it is none."""
    data = path.read_bytes()
    if data[:4] != b"\x7fELF" or len(data) < 52:
        raise ToolError(f"{path}: no ELF file; expected one from a compiler that writes ELF")
    order = "<" if data[5] == 1 else ">"
    if data[4] == 2:
        header, section_format, symbol_format = "40xQ10xHHH", "IIQQQQIIQQ", "IBBHQQ"
    else:
        header, section_format, symbol_format = "32xI10xHHH", "IIIIIIIIII", "IIIBBH"
    table, entry_size, count, names = struct.unpack_from(order + header, data)
    raw = [
        struct.unpack_from(order + section_format, data, table + i * entry_size)
        for i in range(count)
    ]
    strings = raw[names][4]
    sections = tuple(_section(data, fields, strings) for fields in raw)
    symbols = {}
    for fields in raw:
        if fields[1] == _SHT_SYMTAB:
            start, size, link, entry = fields[4], fields[5], fields[6], fields[9]
            for at in range(start, start + size, entry):
                values = struct.unpack_from(order + symbol_format, data, at)
                symbol = _symbol(data, values, raw[link][4], sections, data[4] == 2)
                if symbol is not None:
                    symbols[symbol.name] = symbol
    return Elf(path, sections, symbols)


def _string(data: bytes, at: int) -> str:
    return data[at : data.index(b"\0", at)].decode(errors="replace")


def _section(data: bytes, fields: tuple[int, ...], strings: int) -> Section:
    name = _string(data, strings + fields[0])
    kind, flags, address, offset, size = fields[1:6]
    # PROGBITS only, and its processor-specific kin: notes and tables of the dynamic
    # loader are not what a device holds.
    occupies = bool(flags & _SHF_ALLOC) and kind == _SHT_PROGBITS
    return Section(name, address, offset, size, occupies and not name.startswith(UNWINDING))


def _symbol(
    data: bytes, values: tuple[int, ...], strings: int, sections: tuple[Section, ...], wide: bool
) -> Symbol | None:
    if wide:
        name, info, _, index, address, size = values
    else:
        name, address, size, info, _, index = values
    if name == 0 or not 0 < index < len(sections):
        return None
    kind = info & 15
    return Symbol(_string(data, strings + name), address, size, sections[index], kind == _STT_FUNC)
