"""Damaged, odd and hostile input for every command, seeded: the only outcomes are success or one clear error.

    make fuzz                                            10,000 cases, two processes, a table by kind
    make fuzz FUZZ="--cases 500 --seed 7 --kinds images,run"
    PYTHONPATH=tests .venv/bin/python -m fuzz images 123       this case again, with what it printed
    PYTHONPATH=tests .venv/bin/python -m fuzz corpus H4        an entry of the corpus again (`corpus all`: every one)

A case is a function of its kind and its seed alone (`fuzz.kinds`): files in a folder of its own, and one or more
command lines. The zygote (`fuzz.zygote`) has imported everything heavy once and forks a child for each command, with
limits on memory and time; the judge (`fuzz.judge`) looks at the exit code, at what was printed and at what was
written.

`--keep FOLDER` with a single case leaves its files there as they were before the command. A case that failed is made
small by hand and added to `fuzz.corpus`. `make test` runs a share of both (`python -m fuzz share`), `make test-all` the
whole corpus and 300 cases.
"""
