# SPDX-License-Identifier: GPL-2.0
#
# The front door. Everything is done by tools/testing/xen; nothing but make
# and python3 (3.11 or newer) has to be there.

.DEFAULT_GOAL := help
PYTHON ?= python3
export KSRC XEN JOBS IMPL CACHE PART BRANCH BASE BUILD TIME ROW MUTANT SHARD

workbench := @PYTHONPATH=tools/testing/xen $(PYTHON) -B -m workbench

help: ## this list
	@echo "Targets:"
	@sed -n 's/^\([a-z-]*\):.*## /  \1	/p' $(firstword $(MAKEFILE_LIST)) | \
		expand -t 16
	@echo "Choices (on the command line, as in: make run IMPL=rust):"
	@echo "  IMPL=c|rust   build and run that kernel alone"
	@echo "  KSRC=DIR      a kernel tree of your own instead of the package"
	@echo "  XEN=FILE      a hypervisor image of your own (arm64)"
	@echo "  JOBS=N        parallel jobs (default: all CPUs)"
	@echo "  CACHE=DIR     where the toolchain, sources and objects live"
	@echo "  ROW=NAME      the only row of make matrix; patterns do, too"
	@echo "  MUTANT=NAME   the only fault of make mutants; patterns do, too"
	@echo "  SHARD=K/N     every Nth fault of make host-mutants, from the Kth on"
	@echo "  TIME=N[s|m|h] how long make soak goes on (default: 10m)"
	@echo "  BRANCH=NAME   the branch of make branch and make import"
	@echo "  BASE=COMMIT   what the branch begins after (default: HEAD; what"
	@echo "                make branch began after)"

run: ## build the C and the Rust kernel, boot both under Xen, compare them
	$(workbench) run

test: ## all tests: style, KUnit, kselftests, memory layouts, checkers
	$(workbench) test

bench: ## what pages, buffers and mappings cost by size and state, C beside Rust
	$(workbench) bench

domains: ## two domains share buffers and a disk, honestly and not
	$(workbench) domains

matrix: ## every configuration once: switches, page sizes, memory, checkers
	$(workbench) matrix

soak: ## tests at random for a time (TIME=30m), also on the checked kernel
	$(workbench) soak

host: ## the logic in Rust, compiled and tested on this machine
	$(workbench) host

host-mutants: ## how many small faults, planted one by one, the tests catch
	$(workbench) host-mutants

mutants: ## break the Rust kernel on purpose, in many ways: a test has to tell
	$(workbench) mutants

shell: ## boot the same system to a shell (IMPL=c for the C kernel)
	$(workbench) shell

menuconfig: ## choose what is in Rust, the checkers and the machine
	$(workbench) menuconfig

series: ## the series as mails in out/series (PART=NAME: a part of it)
	$(workbench) series

branch: ## the series as a branch: make branch KSRC=GITTREE BRANCH=NAME
	$(workbench) branch

import: ## bring such a branch back: make import KSRC=GITTREE BRANCH=NAME
	$(workbench) import

series-check: ## check the series as it is sent (BUILD=1: build each step)
	$(workbench) series-check

clean: ## remove out/, the results of the last run
	$(workbench) clean

clean-cache: ## remove the cache as well: toolchain, sources, objects
	$(workbench) clean-cache

.PHONY: help run test bench domains matrix soak shell menuconfig series branch \
	import series-check host host-mutants mutants clean clean-cache
.NOTPARALLEL:
