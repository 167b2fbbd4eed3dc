# SPDX-License-Identifier: Apache-2.0
# A small front for Meson: one word for each thing a newcomer wants. `make help` lists them.

BUILD ?= build
PREFIX ?= /usr/local
DESTDIR ?=
MESON_FLAGS ?=

.PHONY: help all run check check-clients check-cluster rows client-matrix cluster cluster-programs check-fast bench bench-memory asan tsan valgrind fuzz static format image deb install clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

all: ## build everything into build/
	@tools/install-deps build
	@tools/build $(BUILD) $(MESON_FLAGS)

run: all ## build, and run the main job on two emulated A30 GPUs
	@tools/demo $(BUILD)

check: ## install what the tests need, run all of them
	@tools/install-deps build test
	@tools/build $(BUILD) -Dtests=true $(MESON_FLAGS)
	@tools/run-tests $(BUILD)

check-clients: ## fetch programs of others (nvidia-smi, device plugin, ...) and test with them
	@tools/install-deps build test
	@tools/build $(BUILD) -Dtests=true $(MESON_FLAGS)
	@tests/clients/fetch-peers "$${MIGD_PEERS:-$$HOME/.cache/migd-peers}"
	@tools/run-tests $(BUILD) clients

rows: ## run the tests of the agent and write the check list of docs/compatibility.md
	@tools/install-deps build test
	@tools/build $(BUILD) -Dtests=true $(MESON_FLAGS)
	@tests/rows $(BUILD) docs/compatibility.md

client-matrix: check-clients ## write the table of docs/clients.md
	@tests/clients/matrix $(BUILD) docs/clients.md

cluster-programs: ## build Kubernetes and containerd for the test cluster (minutes, once)
	@tools/install-deps build test cluster
	@tools/build $(BUILD) -Dtests=true $(MESON_FLAGS)
	@tests/cluster/build-programs
	@tests/clients/fetch-peers "$${MIGD_PEERS:-$$HOME/.cache/migd-peers}" mig-parted mig-manager device-plugin

cluster: cluster-programs ## start a Kubernetes with two emulated A30 nodes on this machine
	@MIG_BUILD=$(BUILD) tests/cluster/cluster up

check-cluster: cluster-programs image ## the tests on a Kubernetes of their own
	@tools/run-tests $(BUILD) cluster

check-fast: ## unit and emulated tests only
	@tools/install-deps build test
	@tools/build $(BUILD) -Dtests=true $(MESON_FLAGS)
	@tools/run-tests $(BUILD) unit emulated

bench: ## compare with nvidia-mig-parted on the same emulated node (ratios)
	@tools/install-deps build bench
	@tools/build $(BUILD) $(MESON_FLAGS)
	@tools/bench $(BUILD)

bench-memory: ## memory of migd with all roles on 56 slices
	@tools/install-deps build
	@tools/build $(BUILD)-release --buildtype=release -Dtests=false
	@python3 tests/bench/bench_memory.py $(BUILD)-release

asan: ## all tests with AddressSanitizer and UndefinedBehaviorSanitizer
	@tools/install-deps build test
	@tools/build build-asan -Db_sanitize=address,undefined -Db_lundef=false
	@tools/run-tests build-asan unit emulated

tsan: ## the tests that use threads with ThreadSanitizer
	@tools/install-deps build test
	@tools/build build-tsan -Db_sanitize=thread -Db_lundef=false
	@tools/run-tests build-tsan threads

valgrind: ## the unit tests under valgrind
	@tools/install-deps build test
	@tools/build $(BUILD) -Dtests=true $(MESON_FLAGS)
	@tools/run-valgrind $(BUILD)

fuzz: ## each fuzzer for FUZZ_SECONDS (60)
	@tools/install-deps build fuzz
	@tools/run-fuzzers build-fuzz $${FUZZ_SECONDS:-60}

static: ## format, layers, sizes, clang build, clang-tidy, cppcheck, shellcheck
	@tools/install-deps build test static
	@tools/check-static

format: ## format the sources in place
	@git ls-files '*.c' '*.h' | xargs clang-format -i

image: ## write the container image to build-image/migd.tar (OCI layout)
	@tools/install-deps build cluster
	@tools/build $(BUILD)-image --prefix=/usr --buildtype=release -Dtests=false
	@tools/image $(BUILD)-image $(BUILD)-image/migd.tar

deb: ## write a Debian package to build-deb/
	@tools/install-deps build deb
	@tools/build $(BUILD)-deb --prefix=/usr --buildtype=release -Dtests=false
	@packaging/deb/build $(BUILD)-deb $(BUILD)-deb

install: ## install to PREFIX (and DESTDIR)
	@tools/install-deps build
	@tools/build $(BUILD)-install --prefix=$(PREFIX) --buildtype=release -Dtests=false
	@DESTDIR=$(DESTDIR) meson install -C $(BUILD)-install --quiet

clean: ## remove what was built
	rm -rf build build-asan build-tsan build-fuzz build-clang build-install build-image build-release build-deb
