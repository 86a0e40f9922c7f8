# Two commands: `make demo` and `make test`. Each builds .venv first if it is missing.
PYTHON ?= python3
SOLO_LEARN ?= 1.0.2
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
STAMP := $(VENV)/.installed

BENCHMARKS := loss precision step step_profile compiled convolution scaling loader monitor

.PHONY: setup host demo experiments bench test lint format clean

# `make setup SOLO_LEARN=<checkout or git URL>` puts solo-learn HEAD into the same environment.
setup: $(STAMP) host
	$(BIN)/solo-intl doctor

# Its torch pin bars 1.0.2 from any ordinary install; HEAD's setup.py imports pkg_resources, gone from setuptools 81.
host:
ifeq ($(SOLO_LEARN),1.0.2)
	$(PIP) install --no-deps solo-learn==1.0.2
else
	$(PIP) install "setuptools<81" wheel
	$(PIP) uninstall --yes solo-learn
	$(PIP) install --no-deps --no-build-isolation \
		$(if $(findstring ://,$(SOLO_LEARN)),git+$(SOLO_LEARN:git+%=%),$(abspath $(SOLO_LEARN)))
endif

# What is never imported need not be compiled. What is, at once: where PYTHONDONTWRITEBYTECODE is set, every
# process would compile all of it for itself.
$(STAMP): setup.cfg pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --no-compile -c constraints.txt -e ".[dev]"
	$(BIN)/python -c "import importlib.util as u, sys; sys.exit(u.find_spec('solo') is None)" || $(MAKE) host
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -c "import solo_intl.experiments.compare, solo_intl.experiments.report.page"
	touch $@

demo: $(STAMP)
	$(BIN)/solo-intl experiment demo

# what is in the folders already is not measured again: remove runs/experiment/NAME-quick to do so
experiments: $(STAMP)
	for name in theory toy instability ablation; do $(BIN)/solo-intl experiment $$name || exit; done

# under half an hour on two idle cores; the two comparisons with solo-learn's own scripts need a checkout of its HEAD
bench: $(STAMP)
	for name in $(BENCHMARKS); do $(BIN)/python benchmarks/$$name.py || exit; done
ifdef SOLO_LEARN_CHECKOUT
	$(BIN)/python benchmarks/evaluation.py
else
	@echo "left out: benchmarks/evaluation.py and stock rows of step.py; SOLO_LEARN_CHECKOUT=<solo-learn HEAD>"
endif

test: $(STAMP) lint
	$(BIN)/python -m pytest -n 2 --dist loadfile

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
