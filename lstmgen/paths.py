"""Where the templates and targets lie: in a checkout, or inside the installed package."""

from pathlib import Path
from typing import Literal

_PACKAGE = Path(__file__).resolve().parent


def data_dir(kind: Literal["templates", "targets"]) -> Path:
    """Return the folder of the given kind: the wheel's inside the package, else the checkout's.

    What lies beside an installed package is anybody's and is not looked at.
    """
    for candidate in (_PACKAGE / kind, _PACKAGE.parent / kind):
        if candidate.is_dir():
            return candidate
    raise FileNotFoundError(f"lstmgen is installed without its {kind} folder; reinstall it")
