# Each target sets up what it needs in a virtual environment of its own: only Python >= 3.10, pip, git and make are assumed.
#   make test                          the test suite             make test ARGS="-k buffer"   a part of it
#   make demo                          the demonstration          make lint | format | type    the checks of the code
#   make install TORCH=torch==2.13.0   another build of PyTorch than the CPU one
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: test demo lint format type install clean

# The workers share the cores: one thread each.
test: $(VENV)/installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 -m "not slow" $(ARGS)

demo: $(VENV)/installed
	$(BIN)/python -m benchmarks.demo $(ARGS)

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

type: $(VENV)/installed
	$(BIN)/mypy

install: $(BIN)/python
	$(BIN)/python .ci/install.py -e ".[all,dev]"
	touch $(VENV)/installed

$(VENV)/installed: pyproject.toml .ci/install.py
	$(MAKE) install

# Some distributions ship Python without ensurepip, and venv fails there: virtualenv brings its own pip.
$(BIN)/python:
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV) && \
		$(PYTHON) -m pip install --quiet --target build/virtualenv virtualenv && \
		PYTHONPATH=build/virtualenv $(PYTHON) -m virtualenv --quiet $(VENV); }

clean:
	rm -rf .venv build dist .tox .mypy_cache .pytest_cache .ruff_cache .hypothesis
