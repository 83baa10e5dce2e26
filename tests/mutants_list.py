"""Every mutant, for `mutants.py` and `test_mutants.py`."""

from mutant import Mutant
from mutants_emulator import EMULATOR
from mutants_kernels import KERNELS
from mutants_portable import PORTABLE
from mutants_tooling import TOOLING

MUTANTS: tuple[Mutant, ...] = (*EMULATOR, *PORTABLE, *KERNELS, *TOOLING)
