"""`python -m fastsketch`: the same as the command `fastsketch`."""

from fastsketch_cli.app import main

main()
