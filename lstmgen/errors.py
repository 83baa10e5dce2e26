"""What lstmgen tells its user when something is wrong with the input."""

from collections.abc import Iterable


def shown(value: object) -> str:
    """Return a value out of a file for a message: in ASCII, one line, at most 60 characters."""
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


class LstmgenError(Exception):
    """A mistake the user can mend; the command line prints it and exits with 2.

    The message says where, what was found, what was expected and what to do.
    """

    @classmethod
    def of(cls, problems: Iterable[str]) -> "LstmgenError":
        """Return one error that lists all `problems`, a line each."""
        return cls("\n".join(problems))


class ModelError(LstmgenError):
    """A model file or its arrays cannot be used."""


class RangeError(LstmgenError):
    """A number lies outside the range for which the arithmetic is proved."""


class TargetError(LstmgenError):
    """A target description is unknown or malformed."""


class ToolError(LstmgenError):
    """An external tool (compiler, emulator) is missing or failed."""


class OutputError(LstmgenError):
    """An output cannot be written where the user wants it."""
