"""JSON of bounded size, depth and number of parts, without names that occur twice."""

import json
import re
from typing import Any

from ..errors import ModelError

MAX_BYTES = 16 << 20
MAX_DEPTH = 32
MAX_PARTS = 1 << 17
"""Most lists, objects and texts: Python takes many times their bytes for each."""

# A text, even one that does not end, or a bracket outside of texts.
_TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[{]|[\]}]', re.DOTALL)


def parse(data: bytes, where: str) -> Any:
    """Return the value that UTF-8 JSON describes; a ModelError naming `where` unless it is sound.

    >>> parse(b'{"a": [1, 2.5]}', "m.json")
    {'a': [1, 2.5]}
    """
    if len(data) > MAX_BYTES:
        raise ModelError(f"{where} has {len(data)} bytes of JSON; expected at most {MAX_BYTES}")
    depth = parts = 0
    for match in _TOKEN.finditer(data):
        token = data[match.start()]
        depth += (token in b"[{") - (token in b"]}")
        parts += token not in b"]}"
        if parts > MAX_PARTS:
            raise ModelError(
                f"{where} has more than {MAX_PARTS} lists, objects and texts; expected less"
            )
        if depth > MAX_DEPTH:
            raise ModelError(f"{where} nests deeper than {MAX_DEPTH} levels; expected less")
    try:
        return json.loads(data.decode("utf-8-sig"), object_pairs_hook=_without_repeats)
    except (ValueError, RecursionError) as error:
        raise ModelError(
            f"{where} is no valid JSON ({str(error)[:80]!a}); write or copy it anew"
        ) from error


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in values if names.count(name) > 1)
        raise ValueError(f"the name {repeated[:40]!a} occurs twice")
    return values
