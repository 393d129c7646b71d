# make demo     install, then draw a sketch data set, convert it, train on it and evaluate
# make notebook install, then run the quickstart notebook
# make test     install, then everything that must hold before a change lands
# make test-all the same with the slow tests, on the real sketches if FASTSKETCH_DATA is there
# make lowest   the tests with the lowest versions that pyproject.toml allows; needs uv
# make docs     install, then renew the page of recipes and keys, and the pages' pictures
# make fuzz     install, then 10,000 damaged, odd and hostile inputs: half an hour on two cores at most

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: demo notebook docs test test-all lowest fuzz lint install constraints clean

demo: install
	@$(BIN)/fastsketch demo

# In a folder of its own: a notebook writes where it lies.
notebook: install
	@folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && cp docs/quickstart.ipynb "$$folder" && \
	  $(BIN)/jupyter-execute --timeout=900 "$$folder/quickstart.ipynb" && echo "docs/quickstart.ipynb: every cell ran"

docs: install
	@$(BIN)/python docs/make.py

test: lint
	$(BIN)/pytest -n auto --dist worksteal -m "not slow"

# A Ray and an S3 server to ask; where they cannot be had, their tests are skipped.
test-all: lint
	-$(BIN)/python -m pip install -q -c constraints.txt -e '.[ray,s3]' --group servers
	$(BIN)/pytest -n auto --dist worksteal

# torch is named once more because timm's torchvision, of which we need none in particular, would bring its newest.
lowest:
	uv venv --quiet --clear --seed --python $(or $(PYTHON),3.10) $(VENV)-lowest
	uv pip install --quiet --python $(VENV)-lowest --resolution lowest-direct --editable '.[fast,serve,urls]' --group dev \
	  "$$(sed -n 's/^    "torch>=\(.*\)",$$/torch==\1/p' pyproject.toml)"
	$(VENV)-lowest/bin/pytest -n auto --dist worksteal -m "not slow"

# FUZZ="--cases 500 --seed 7 --kinds images,runs" for others; tests/fuzz/__init__.py tells how a case is run again.
fuzz: install
	@PYTHONPATH=tests $(BIN)/python -m fuzz $(FUZZ)

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy fastsketch cli benchmarks
	$(BIN)/lint-imports

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt .ci/install
	@.ci/install $(VENV)
	@touch $@

# Pins for reproducible runs, for every supported Python at once; needs uv.
constraints:
	uv pip compile pyproject.toml --universal --python-version 3.10 --all-extras --group dev --upgrade \
	  --no-header --no-annotate --output-file constraints.txt

clean:
	rm -rf $(VENV) $(VENV)-lowest demo build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
