# make demo | make test | make test-rtx | make test-arm64 | make check | make bench
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test test-rtx test-arm64 check bench sshd clean

demo: $(STAMP)
	$(BIN)/scbp-host run --device local

# A process per core, and no more than four: each holds its own PyTorch. A file stays in one process.
test: $(STAMP) sshd
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

# Every network of the demo and one of each family, through TensorRT-RTX's builder; `make test` has a sample of them.
test-rtx: $(STAMP)
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 tests/host/export/rtx_every_network.py

# An arm64 Debian behind a real sshd, by qemu's user mode; as root, since it makes namespaces and mounts.
VIRTUAL_DEVICE ?= .virtual-device

test-arm64: $(STAMP)
	@[ "$$(id -u)" = 0 ] || { echo "make test-arm64 needs root: it mounts and makes namespaces" >&2; exit 1; }
	@command -v debootstrap >/dev/null && command -v qemu-aarch64-static >/dev/null || \
	    { apt-get update -qq && apt-get install -y -qq --no-install-recommends debootstrap qemu-user-static; }
	PYTHON=$(BIN)/python tests/virtual_device/make_rootfs.sh $(VIRTUAL_DEVICE)
	VIRTUAL_DEVICE=$(VIRTUAL_DEVICE) $(BIN)/python -m pytest tests/virtual_device/arm64_run.py

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy --python-version 3.10 device_agent/scbp_agent
	$(BIN)/lint-imports
	$(BIN)/vermin --no-tips --violations -t=3.6- device_agent/scbp_agent

# Timings: run them alone on the machine.
bench: $(STAMP)
	$(BIN)/python tests/bench/demo.py --json docs/bench/demo.json --keep .bench
	$(BIN)/python tests/bench/latency_model.py .bench/*/scbp.sqlite --json docs/bench/latency_model.json
	$(BIN)/python tests/bench/space_scale.py --json docs/bench/space_scale.json
	$(BIN)/python tests/bench/repeatability.py --json docs/bench/repeatability.json
	$(BIN)/python tests/bench/agent_overhead.py --json docs/bench/agent_overhead.json

# Debian splits ensurepip off into python3-venv: installed by root, named to everybody else.
$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "scbp needs Python 3.11 or newer; try: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || if [ "$$(id -u)" = 0 ]; then \
	    apt-get update -qq && apt-get install -y -qq python3-venv; \
	else \
	    echo "python3-venv is missing; try: sudo apt-get install python3-venv" >&2; exit 1; \
	fi
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $(STAMP)

# The tests run against a real OpenSSH server of their own, on a free loopback port.
sshd:
	@command -v sshd >/dev/null || [ -x /usr/sbin/sshd ] || if [ "$$(id -u)" = 0 ]; then \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq openssh-server; \
	else \
	    echo "the tests need sshd; try: sudo apt-get install openssh-server" >&2; exit 1; \
	fi

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
