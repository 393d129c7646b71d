"""The command line of fastsketch, installed as the package `fastsketch_cli`."""
