"""Integers in words of 32 bits and less."""

from ...qformat import IntArray


def int32(value: IntArray) -> IntArray:
    """Return the value modulo 2**32 as a signed number."""
    return ((value & 0xFFFFFFFF) ^ 0x80000000) - 0x80000000


def int16(value: IntArray) -> IntArray:
    """Return the value modulo 2**16 as a signed number."""
    return ((value & 0xFFFF) ^ 0x8000) - 0x8000


def halves(words: IntArray) -> tuple[IntArray, IntArray]:
    """Return the low and the high half of each word, as signed numbers."""
    return int16(words), words >> 16


def round_up(count: int, multiple: int) -> int:
    """Return the least multiple that is not below `count`."""
    return -(-count // multiple) * multiple
