# Everything here needs Python 3.10 or later, make, and the package registries; nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test check bench docs ledger clean

demo: $(READY)  ## a study of a real table, from start to verdict
	$(BIN)/sharewise demo --out runs/demo

test: $(READY)  ## style, types, tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -n 2

bench: $(READY)  ## the numbers, side by side with what they are compared with
	$(BIN)/python benchmarks/run.py

docs: $(READY)  ## the documentation, in site/
	$(BIN)/mkdocs build --strict

ledger: $(READY)  ## every published system at its default scale (hours); exit code 1 of a system: a claim is refuted
	for id in $$($(BIN)/sharewise systems --ids); do $(BIN)/sharewise reproduce $$id --ledger || test $$? -eq 1 || exit 1; done
	$(BIN)/sharewise ledger --update-readme README.md --page docs/ledger.md

# torch comes first and alone, so that no other package picks another build of it.
$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet torch==2.13.0
	$(BIN)/python -m pip install --quiet --editable ".[dev]" --constraint constraints.txt
	touch $(READY)

clean:
	rm -rf $(VENV) site runs .mypy_cache .ruff_cache .pytest_cache
