"""A named mistake in the sources, which some test has to find."""

from dataclasses import dataclass


class MutantError(Exception):
    """A mutant that says nothing: it does not apply, or its tests do not run."""


@dataclass(frozen=True)
class Mutant:
    """A mistake: in `file`, relative to the root, `find` becomes `replace`.

    name: where it is and what is wrong. tests: the arguments of pytest that have to find it,
    as few as do.
    """

    name: str
    file: str
    find: str
    replace: str
    tests: tuple[str, ...]

    def applied(self, text: str) -> str:
        """Return the text of the file with the mistake; raises MutantError unless `find` is
        there once."""
        count = text.count(self.find)
        if count != 1:
            raise MutantError(
                f"{self.name}: {self.file} has {count} times {self.find!r}; expected once: "
                "bring the mutant up to date"
            )
        return text.replace(self.find, self.replace)
