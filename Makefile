# make demo and make test need nothing but this file, Python >= 3.11 and a package index.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.floop-installed
# Two workers: the suite starts many processes of its own, and more workers only make them wait for each other.
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile
# Everything that speaks ROS on this machine stays on it.
export ROS_AUTOMATIC_DISCOVERY_RANGE := LOCALHOST
export FASTDDS_BUILTIN_TRANSPORTS := UDPv4
# One BLAS thread per process: many small matrix products on few cores.
export OMP_NUM_THREADS := 1
export OPENBLAS_NUM_THREADS := 1

# `make demo ROS=0` and `make test ROS=0` leave ROS out. It is left out by itself where its wheels or a compiler are
# missing, and where a ROS distribution is sourced (which brings its own).
ROS ?= $(shell [ "$$(uname -sm)" = "Linux x86_64" ] && [ -z "$$ROS_DISTRO" ] && command -v g++ > /dev/null && \
	$(PYTHON) -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))' \
	&& echo 1 || echo 0)
SETUP := setup $(if $(filter 1,$(ROS)),setup-ros)

# ROS 2 from wheels: Jazzy beside everything else, Kilted in an environment of its own (test-kilted).
INTERFACES := $(addprefix floop_interfaces/,CMakeLists.txt package.xml setup.py) $(wildcard floop_interfaces/*/*.msg floop_interfaces/*/*.srv floop_interfaces/*/*.action)
ROS_STAMP := $(VENV)/.floop-ros-installed
KILTED := .venv-kilted

# A line every half minute while a long step is silent: $(call STILL,set-up 1 of 3).
STILL = (s=0; while sleep 30 > /dev/null 2>&1 && kill -0 $$$$ 2> /dev/null; do s=$$((s + 30)); echo "  $(1) goes on, $$s s"; done) & \
	trap "kill $$! 2> /dev/null" EXIT;

.PHONY: setup setup-ros demo test test-slow test-kilted lint bench docs baselines clean

setup: $(STAMP)

# torch goes first and pinned: any other version pulls gigabytes of accelerator libraries.
$(STAMP): setup.py pyproject.toml constraints.txt $(wildcard floop_robot/*/native/*)
	@echo "set-up 1 of 3: torch and what floop needs, about a minute; on a busy machine some minutes"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(call STILL,set-up 1 of 3) $(BIN)/python -m pip install --quiet -c constraints.txt torch && \
	$(BIN)/python -m pip install --quiet -c constraints.txt setuptools wheel && \
	$(BIN)/python -m pip install --quiet -c constraints.txt --no-build-isolation -e ".[all,dev]"
	touch $@

setup-ros: $(ROS_STAMP)

$(ROS_STAMP): $(INTERFACES) floop_interfaces/requirements-jazzy.txt | $(STAMP)
	@echo "set-up 2 of 3: ROS 2 from wheels"
	@$(call STILL,set-up 2 of 3) $(BIN)/python -m pip install --quiet -c constraints.txt -r floop_interfaces/requirements-jazzy.txt
	@echo "set-up 3 of 3: compiling floop's ROS messages, about a minute; on a busy machine some minutes"
	@$(call STILL,set-up 3 of 3) $(BIN)/python -m pip install --quiet --no-build-isolation --no-deps --force-reinstall ./floop_interfaces
	touch $@

$(KILTED)/.floop-ros-installed: setup.py constraints.txt $(INTERFACES) floop_interfaces/requirements-kilted.txt
	test -x $(KILTED)/bin/python || $(PYTHON) -m venv $(KILTED)
	$(KILTED)/bin/python -m pip install --quiet -c constraints.txt -r floop_interfaces/requirements-kilted.txt
	$(KILTED)/bin/python -m pip install --quiet -c constraints.txt --no-build-isolation -e ".[sim,dev]"
	$(KILTED)/bin/python -m pip install --quiet --no-build-isolation --no-deps --force-reinstall ./floop_interfaces
	touch $@

test-kilted: $(KILTED)/.floop-ros-installed
	$(KILTED)/bin/python -m pytest -n 2 --dist loadfile tests/ros $(ARGS)

demo: $(SETUP)
	$(BIN)/floop demo $(if $(and $(filter 0,$(ROS)),$(filter-out file,$(origin ROS))),--no-ros) $(ARGS)

test: $(SETUP)
	$(PYTEST) -m "not slow" $(ARGS)

test-slow: $(SETUP)
	$(PYTEST) $(ARGS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: setup
	$(BIN)/floop bench $(ARGS)

# Re-make the reference pages and the picture of the rooms from the code.
docs: setup
	$(BIN)/python docs/generate.py

# Re-make the shipped baseline policies from their recipes.
baselines: setup
	$(BIN)/python -m floop_policies.make $(ARGS)

clean:
	rm -rf $(VENV) $(KILTED) build dist floop_interfaces/build *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
