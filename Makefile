# Two commands matter on a fresh machine: `make train` and `make test`. Each makes its own .venv first.
# Written for GNU make 3.81 and later, which is what macOS has.

PYTHON ?= python3
# LeRobot needs Python 3.12 or later; `make lerobot` alone asks for it.
PYTHON312 ?= python3.12
# A game whose score rises within minutes: 0 points in the first games, about a thousand after 4,000 steps.
GAME   ?= ALE/RoadRunner-v5
TRAIN_FLAGS ?= --steps 16000 --freeze-at 6000 --eval-every 4000

# PyPI's torch for Linux brings several GB of CUDA packages. Without an NVIDIA GPU they are dead weight, so torch
# alone is then looked for in PyTorch's own CPU index first. `TORCH_INDEX=` (empty) always takes pip's usual index.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu

# What DeepMind Control is drawn with on Debian and its kin; installed where that needs no password. Empty: never.
GL_PACKAGES ?= libegl1 libgl1

# What the report's tests open it in; installed for `make test-all` where that needs no password. Empty: never.
BROWSER_PACKAGES ?= chromium

# A process per core, at most eight: each takes a second to start and half a GB. worksteal keeps tests of one file, which
# share runs, on one process until another is idle.
WORKERS ?= -n auto --maxprocesses 8 --dist worksteal

# As root, or where sudo asks for nothing.
AS_ROOT     = $(if $(filter 0,$(shell id -u)),,sudo -n)
APT_WORKS   = command -v apt-get >/dev/null && $(AS_ROOT) true 2>/dev/null
apt_install = { $(AS_ROOT) apt-get update && $(AS_ROOT) env DEBIAN_FRONTEND=noninteractive \
    apt-get install --yes --no-install-recommends $(1); } >/dev/null 2>&1 || true

BIN  := .venv/bin
PIP  := $(BIN)/python -m pip --disable-pip-version-check --quiet
DONE := .venv/.installed
DRAWS := .venv/.draws
LEROBOT := .venv-lerobot

.DEFAULT_GOAL := help
.PHONY: help setup train test test-all lerobot lint types unit browser docs format clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(DONE)  ## make .venv and install the pinned dependencies

train: $(DONE) $(if $(filter dm_control/%,$(GAME)),$(DRAWS))  ## train on one game: make train GAME=ALE/Alien-v5
	$(BIN)/seer train --env $(GAME) $(TRAIN_FLAGS)

# Side by side: rules, types and pages are checked while the tests run.
test:  ## ruff, mypy, import floors, quick tests, the documentation: what CI runs, minutes
	@$(MAKE) --no-print-directory --jobs lint types unit docs

test-all: lint types docs $(DRAWS) browser  ## the long tests too, in browsers and new environments: before a release, hours
	TORCH_INDEX=$(TORCH_INDEX) $(BIN)/pytest $(WORKERS) -m '' --durations=30

# An environment of its own: 5 GB of packages, Python 3.12, and releases of torch and mujoco that the others' pins rule out.
lerobot: $(LEROBOT)/.installed  ## the tests of seer.integrations.lerobot, against LeRobot and its simulated arm
	$(LEROBOT)/bin/python -m pytest -n 0 -m '' tests/integrations/lerobot

lint: $(DONE)  ## ruff: rules and formatting
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(DONE)  ## mypy --strict on src, benchmarks and results
	$(BIN)/mypy

unit: $(DONE) $(DRAWS)  ## pytest, import floors among the tests
	$(BIN)/pytest $(WORKERS)

docs: $(DONE)  ## the documentation site, links checked: build/site/index.html
	$(BIN)/python docs/tools/build_site.py

format: $(DONE)  ## let ruff fix what it can
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean:  ## remove .venv, caches and builds; never runs/
	rm -rf .venv $(LEROBOT) build dist .cache .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find src tests -name __pycache__ -prune -exec rm -rf {} +

# The stamp is touched last: an interrupted installation starts again.
$(DONE): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	    echo "seer needs Python 3.11 or later, which '$(PYTHON)' is not: make PYTHON=python3.12 ..." >&2; exit 1; }
	@[ -f $@ ] || rm -rf .venv  # of an installation that failed, perhaps with another Python
	@# Debian splits ensurepip off into python3-venv; the interpreter's own pip can stand in for it.
	@if $(PYTHON) -c 'import venv, ensurepip' 2>/dev/null; then \
	    $(PYTHON) -m venv .venv; \
	elif $(PYTHON) -c 'import venv, pip' 2>/dev/null; then \
	    $(PYTHON) -m venv --without-pip .venv && $(PYTHON) -m pip --quiet --python $(BIN)/python install pip; \
	else \
	    echo "'$(PYTHON)' can't make virtual environments: apt install python3-venv" >&2; exit 1; \
	fi
	@echo "Installing into .venv, once; torch is about 200 MB, several GB with CUDA."
	@# A step of its own, with --no-deps, so that one request decides: an unreachable extra index would be asked,
	@# and waited for, once per package. 2.13.0+cpu then satisfies torch==2.13.0, and the next step keeps it.
	@if [ -n "$(TORCH_INDEX)" ] && [ "$$(uname -s)" = Linux ] && ! nvidia-smi -L >/dev/null 2>&1; then \
	    $(PIP) --retries 1 --timeout 15 install --no-deps --index-url $(TORCH_INDEX) -c constraints.txt torch \
	        2>/dev/null || echo "No torch from $(TORCH_INDEX): taking pip's usual index."; \
	fi
	@$(PIP) install -c constraints.txt -e '.[dev]'
	@touch $@

# Without a backend there is one line and no stamp: the next make looks again. Only DeepMind Control needs it.
$(DRAWS): $(DONE)
	@draws() { $(BIN)/python -c 'from seer.envs.rendering import choose_backend; print(choose_backend())' 2>&1; }; \
	found=$$(draws); works=$$?; \
	case "$$found" in *libegl1*) \
	    if [ -n "$(GL_PACKAGES)" ] && $(APT_WORKS); then \
	        echo "Installing $(GL_PACKAGES) for DeepMind Control; GL_PACKAGES= prevents it."; \
	        $(call apt_install,$(GL_PACKAGES)); \
	        found=$$(draws); works=$$?; \
	    fi;; \
	esac; \
	echo "$$found" | sed -n "s/^seer.errors.SettingError: //; \$$p"; \
	if [ $$works = 0 ]; then touch $@; fi

# evdev and hidapi, which LeRobot's gamepads need, are built from source where they have no wheel: Linux headers, gcc.
$(LEROBOT)/.installed: pyproject.toml
	@$(PYTHON312) -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null || { \
	    echo "LeRobot needs Python 3.12 or later, which '$(PYTHON312)' is not: make lerobot PYTHON312=..." >&2; exit 1; }
	@echo "Installing LeRobot into $(LEROBOT), once: about 5 GB."
	@rm -rf $(LEROBOT) && $(PYTHON312) -m venv $(LEROBOT)
	@if [ -n "$(TORCH_INDEX)" ] && [ "$$(uname -s)" = Linux ] && ! nvidia-smi -L >/dev/null 2>&1; then \
	    $(LEROBOT)/bin/python -m pip --disable-pip-version-check --quiet --retries 1 --timeout 15 install --no-deps \
	        --index-url $(TORCH_INDEX) 'torch>=2.11,<2.12' 'torchvision<0.27' \
	        2>/dev/null || echo "No torch from $(TORCH_INDEX): taking pip's usual index."; \
	fi
	@$(LEROBOT)/bin/python -m pip --disable-pip-version-check --quiet install -e '.[lerobot]' hypothesis pytest pytest-xdist
	@touch $@

# Without a browser the report's tests in it are skipped, and pytest says so.
browser: $(DONE)
	@if [ -n "$(BROWSER_PACKAGES)" ] && $(APT_WORKS) \
	    && ! $(BIN)/python -c 'import shutil, sys; sys.exit(not any(map(shutil.which, sys.argv[1:])))' \
	        chromium chromium-browser google-chrome chrome; then \
	    echo "Installing $(BROWSER_PACKAGES) for the report's tests; BROWSER_PACKAGES= prevents it."; \
	    $(call apt_install,$(BROWSER_PACKAGES)); \
	fi
