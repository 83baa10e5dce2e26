"""Where the templates and targets lie: in a checkout, or inside the installed package."""

from pathlib import Path
from typing import Literal

_PACKAGE = Path(__file__).resolve().parent


def data_dir(kind: Literal["templates", "targets"]) -> Path:
    """Return the folder of the given kind; the checkout's wins over the installed one."""
    for candidate in (_PACKAGE.parent / kind, _PACKAGE / kind):
        if candidate.is_dir() and (_PACKAGE.parent / "pyproject.toml").is_file() == (
            candidate.parent != _PACKAGE
        ):
            return candidate
    raise FileNotFoundError(f"lstmgen is installed without its {kind} folder; reinstall it")
