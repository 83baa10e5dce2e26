"""Readers that do what none may: each has to be found out by `damaged_files`."""

import os
import pickle
import time
import warnings
from pathlib import Path

from lstmgen.errors import ModelError


def refuse(path: Path) -> None:
    raise ModelError(f"{path}: refused")


def hang(path: Path) -> None:
    time.sleep(3600)


def dawdle(path: Path) -> None:
    end = time.process_time() + 0.4
    while time.process_time() < end:
        pass


def crash(path: Path) -> None:
    os.abort()


def hoard(path: Path) -> None:
    bytearray(1100 << 20)


def hoard_quietly(path: Path) -> None:
    try:
        hoard(path)
    except MemoryError as error:
        raise ModelError(f"{path}: does not fit") from error


def stumble(path: Path) -> None:
    raise KeyError("W")


def warn(path: Path) -> None:
    warnings.warn("overflow", RuntimeWarning, stacklevel=1)


def chatter(path: Path) -> None:
    raise ModelError(f"{path}: {'x' * 2000}")


def control(path: Path) -> None:
    raise ModelError(f"{path}: \x1b[2J")


def unpickle(path: Path) -> None:
    pickle.loads(path.read_bytes())
