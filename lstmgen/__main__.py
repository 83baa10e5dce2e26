"""`python -m lstmgen` is the command line."""

from .cli import main

main()
