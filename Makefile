# Two commands do all the set-up: `make demo` runs the main job, `make check` passes the tests.
VENV := .venv
BIN := $(VENV)/bin
WORKERS ?= 2
# One thread in each test process: torch would otherwise start as many as there are cores.
# A process that is done takes over half of what the other still has to do: the long tests come in
# a row, and by xdist's own choice one process would be left with all of them.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

# What makes torch and its libraries compute as on a processor whose widest vectors are AVX2's.
AVX2 := ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 MKL_ENABLE_INSTRUCTIONS=AVX2

.PHONY: demo check lint test parity coverage slow bench

demo: $(VENV)/installed
	$(BIN)/reid demo

check: lint test

lint: $(VENV)/installed
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/lint-imports
	$(BIN)/mypy

test: $(VENV)/installed
	$(PYTEST) -m "not slow"

# A file's tests stay together: they share models that take seconds to make.
parity: $(VENV)/installed
	$(AVX2) $(PYTEST) --dist loadfile -m "not slow" tests/golden

# Apart from `test`, because it takes half as long again or more: torch's code is watched with ours.
coverage: $(VENV)/installed
	$(PYTEST) -m "not slow" --cov --cov-report=term:skip-covered

slow: $(VENV)/installed
	$(PYTEST) -m slow --durations=0

bench: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --editable '.[dev,fast,onnx,openvino]'
	$(BIN)/python -m benchmarks --full --json benchmarks/results/cpu.json

$(VENV)/installed: pyproject.toml
	python3 -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@
