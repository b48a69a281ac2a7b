# Farrier: everything a developer runs. Needs Debian 12 or 13, root and make; each target sets up what it needs.
SHELL       := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help
MAKEFLAGS   += --no-print-directory

export PATH := $(CURDIR)/.venv/bin:$(PATH)
export UV_PYTHON_DOWNLOADS := never
export VIRTUAL_ENV := $(CURDIR)/.venv
export MOLECULE_COMMAND_BORDERS := 0

APT_PACKAGES := ca-certificates curl debian-archive-keyring git iproute2 mmdebstrap nftables openssh-client python3-venv \
                systemd-container xz-utils zstd

.PHONY: help
help:  ## list the targets
	@awk -F ':.*## ' '/^[.a-z][-.a-z]*:.*## / { printf "  %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# ---- tools --------------------------------------------------------------------------------------------------------

.PHONY: apt
apt:
	@installed=$$(dpkg-query -W -f '$${db:Status-Status}\n' $(APT_PACKAGES) 2>/dev/null | grep -cx installed || true)
	[ "$$installed" != $(words $(APT_PACKAGES)) ] || exit 0
	echo "==> apt: $(APT_PACKAGES)"
	export DEBIAN_FRONTEND=noninteractive
	apt-get update -qq
	apt-get install -y -qq --no-install-recommends $(APT_PACKAGES) >/dev/null

# What the tests need besides: a browser, and Redis and PostgreSQL, whose own services must not start here.
TEST_PACKAGES := chromium openssl postgresql redis-server

# And what tests/limits need, which only `make test-all` runs: a machine with a kernel of its own.
MACHINE_PACKAGES := e2fsprogs qemu-system-x86

.PHONY: apt-test
apt-test: apt
	@installed=$$(dpkg-query -W -f '$${db:Status-Status}\n' $(TEST_PACKAGES) 2>/dev/null | grep -cx installed || true)
	[ "$$installed" != $(words $(TEST_PACKAGES)) ] || exit 0
	echo "==> apt: $(TEST_PACKAGES)"
	export DEBIAN_FRONTEND=noninteractive
	apt-get update -qq
	[ -x /usr/bin/redis-server ] || systemctl mask --quiet redis-server.service 2>/dev/null || true
	[ -x /usr/bin/pg_lsclusters ] || systemctl mask --quiet postgresql.service 2>/dev/null || true
	apt-get install -y -qq --no-install-recommends $(TEST_PACKAGES) >/dev/null

.PHONY: .venv
.venv: .venv/.installed  ## Python tools from the hashed lock, and this project, into .venv

.venv/bin/uv: requirements/uv.txt | apt
	@echo "==> .venv: python and uv"
	/usr/bin/python3 -m venv .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	touch $@

.venv/.synced: requirements/dev.txt .venv/bin/uv
	@echo "==> .venv: tools of requirements/dev.txt"
	.venv/bin/uv pip sync --quiet --require-hashes requirements/dev.txt
	touch .venv/bin/uv $@

.venv/.installed: pyproject.toml .venv/.synced
	@echo "==> .venv: farrier itself (editable)"
	.venv/bin/uv pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

# A lock holds hashes of the public index and no address: it is made without this machine's pip and uv settings.
COMPILE := env -u PIP_FIND_LINKS -u PIP_INDEX_URL -u PIP_EXTRA_INDEX_URL -u UV_INDEX_URL -u UV_DEFAULT_INDEX -u UV_INDEX PIP_CONFIG_FILE=/dev/null UV_NO_CONFIG=1 \
           .venv/bin/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header
UPGRADE :=

.PHONY: lock
lock: .venv/bin/uv  ## make every Python lock from its .in (UPGRADE=--upgrade takes newer versions)
	@for file in requirements/*.in roles/conda/files/tools.in stacks/*/envs/*.in; do
	  # the tools run in the host's own Python, which is 3.10 on Ubuntu 22.04
	  version=3.11; [ $$file != roles/conda/files/tools.in ] || version=3.10
	  echo "==> $${file%.in}.txt"
	  $(COMPILE) $(UPGRADE) --python-version $$version $$file --output-file $${file%.in}.txt
	done

# ---- the demo -----------------------------------------------------------------------------------------------------

CHANNEL := https://channel.test/local
CHANNEL_PORT := 8642

IMAGES := bookworm bookworm-warm trixie-warm

.PHONY: prepare
prepare: .venv
	@testbed image $(IMAGES) >/dev/null
	testbed channel build build/channel
	url=$$(testbed serve build/channel/channel --port $(CHANNEL_PORT))
	$(MAKE) build/locks/.made URL="$$url"

build/locks/.made: build/channel/channel/linux-64/repodata.json $(wildcard stacks/*/envs/*.yml)
	@farrier lock --all --channel $(CHANNEL) --mirror $(CHANNEL)=$(URL) --locks build/locks
	touch $@

.PHONY: demo
demo: IMAGES := bookworm
demo: prepare  ## boot a local host `pegasus`, deploy onto it, print how to use it
	@python -m testbed.demo

.PHONY: demo-down
demo-down: .venv  ## remove the demo's hosts and everything of them but the image cache
	@testbed down pegasus unicorn
	testbed tidy
	rm -rf build/demo build/locks build/channel

.PHONY: clean
clean:  ## remove all that any target made: hosts, network, image cache, build/, .venv
	@[ ! -x .venv/bin/testbed ] || .venv/bin/testbed clean
	rm -rf build /tmp/farrier-ssh .venv .ansible .mypy_cache .pytest_cache .ruff_cache *.egg-info

# ---- tests --------------------------------------------------------------------------------------------------------

PYTHON_CODE := $(wildcard app farrier host molecule plugins stacks tests)

SCRIPTS = $$(git ls-files --cached --others --exclude-standard | xargs awk 'FNR == 1 && /^\#!\/bin\/(ba)?sh/ { print FILENAME } { nextfile }')

.PHONY: lint
lint: .venv  ## ruff, mypy, yamllint, shellcheck, ansible-lint; all findings at once
	@found=0
	check() { echo "==> $$1"; "$$@" || found=1; }
	check ruff check --quiet --output-format concise .
	check ruff format --quiet --check .
	check mypy --no-error-summary $(PYTHON_CODE)
	check yamllint --strict .
	check shellcheck $(SCRIPTS)
	check ansible-lint --offline -q
	exit $$found

.PHONY: unit
unit: .venv apt-test  ## the tests that need no host
	@pytest tests/unit --numprocesses 2 --dist loadfile

.PHONY: hosts
hosts: .venv  ## the tests of hosts: driver, Molecule scenarios
	@pytest tests/hosts

.PHONY: e2e
e2e: .venv apt-test  ## the tests through the front door of a deployed host
	@pytest tests/e2e

.PHONY: test
test: .venv apt-test  ## everything that a change must pass
	@SECONDS=0
	$(MAKE) lint
	export FARRIER_LINT_SECONDS=$$SECONDS; SECONDS=0
	pytest tests/unit -m 'not slow' --numprocesses 2 --dist loadfile
	export FARRIER_UNIT_SECONDS=$$SECONDS
	pytest tests/hosts tests/e2e -m 'not slow'

# nnU-Net and torch have an env of their own, for one slow test; see the head of the requirements.
build/nnunet/.synced: stacks/knee/training/requirements.txt
	@echo "==> build/nnunet: nnU-Net and torch"
	mkdir -p build
	/usr/bin/python3 -m venv build/nnunet
	build/nnunet/bin/python -m pip install --quiet --no-deps --require-hashes -r $<
	touch $@

# Its weights are not in git: they are trained here, some minutes of one core.
build/nnunet-model/models.yml: stacks/knee/training/train_nnunet.py stacks/knee/fixtures/make_phantom.py build/nnunet/.synced
	@echo "==> build/nnunet-model: training the network"
	rm -rf build/nnunet-model
	OMP_NUM_THREADS=1 nice build/nnunet/bin/python $< --out build/nnunet-model

.PHONY: test-all
test-all: TEST_PACKAGES += $(MACHINE_PACKAGES)
test-all: .venv apt-test  ## test, the slow tests, faults and bench
	@SECONDS=0
	$(MAKE) lint
	FARRIER_LINT_SECONDS=$$SECONDS pytest tests
	$(MAKE) faults
	$(MAKE) bench

.PHONY: bench
bench: prepare build/bench/.synced  ## measure; table, and figures in build/bench.json
	@python -m tests.bench

# What deploys are compared with has a venv of its own: nothing else needs it.
build/bench/.synced: requirements/bench.txt .venv/bin/uv
	@echo "==> build/bench: tools of requirements/bench.txt"
	mkdir -p build
	/usr/bin/python3 -m venv build/bench
	.venv/bin/uv pip sync --quiet --require-hashes --python build/bench/bin/python requirements/bench.txt
	touch $@

.PHONY: faults
faults: prepare  ## cause faults and check what was promised; table, build/faults.json and docs/reliability.md
	@python -m tests.faults
