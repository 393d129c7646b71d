"""One runnable file per question, installed as the package `fastsketch_benchmarks`: `fastsketch bench NAME`."""
