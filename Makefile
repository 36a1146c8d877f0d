# What a developer runs. Needs Python 3.10 or newer, cargo and a C compiler; everything is made inside of this folder.
# CI runs the same targets: .ci/run.

PYTHON ?= python3

.PHONY: help demo test soak lint tidy sanitize conformance test-downstream downstream cancel-stress stack-stress rounds bench bench-full budget check clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## record the two example programs, in Python and in Rust, and draw what happened
	@$(PYTHON) tools/demo.py

test: ## all tests: Rust, loom, and the Python ones on every Python found (BOUCLE_PYTHONS="3.12 3.13": only those)
	@$(PYTHON) tools/run_tests.py

soak: ## random programs on boucle and on asyncio, for an hour (SOAK=10: for so many minutes; IO=1: with sockets)
	@$(PYTHON) tools/soak.py

lint: ## rustfmt, clippy, rustdoc, ruff, mypy, and the stub against the binary
	@$(PYTHON) tools/lint.py

tidy: ## what lints cannot check: forbidden arrows, where unsafe may stand, licences, links
	@$(PYTHON) tools/tidy.py --self-test
	@$(PYTHON) tools/tidy.py

sanitize: ## the tests of the core under the address sanitizer (nightly Rust; skipped without it)
	@$(PYTHON) tools/sanitize.py

conformance: ## CPython's own asyncio tests on boucle, on every Python found; MODE=debug: in debug mode
	@$(PYTHON) tools/conformance.py $(MODE)

test-downstream: ## the released test suites of anyio, aiohttp, uvicorn and tornado, on asyncio and on boucle, test by test
	@$(PYTHON) tools/downstream.py

downstream: test-downstream

cancel-stress: ## 100,000 connects (N=...) that are cancelled at random moments: no leak, no double close
	@$(PYTHON) tools/environments.py build --python one --with test
	@$$($(PYTHON) tools/environments.py which) -W error tests/io/cancel_stress.py --connects $(or $(N),100000)

stack-stress: ## read the frames of an adversarial thread for 30 minutes (MINUTES=...), and compare each answer with an oracle
	@$(PYTHON) tools/environments.py build --python one --with test
	@$$($(PYTHON) tools/environments.py which) tests/stacks/stack_stress.py --minutes $(or $(MINUTES),30)

rounds: ## 10,000 rounds (N=...) each of TCP, TLS, UDP, Unix, pipe and subprocess: everything returns to where it was
	@$(PYTHON) tools/environments.py build --python one --with test
	@$$($(PYTHON) tools/environments.py which) tests/io/rounds.py --rounds $(or $(N),10000)

bench: ## compare with uvloop, rloop and asyncio on the newest Python found: a choice of rows, about 5 minutes
	@$(PYTHON) tools/environments.py build --python one --with bench
	@$$($(PYTHON) tools/environments.py which) bench/run.py --quick

bench-full: ## all rows, 7 rounds, about 20 minutes; keeps the run in bench/results and writes docs/performance.md
	@$(PYTHON) tools/environments.py build --python one --with bench
	@$$($(PYTHON) tools/environments.py which) bench/run.py --keep
	@$(PYTHON) bench/report.py

budget: ## fail where an operation takes 5 % more instructions or system calls than bench/budget.json allows (UPDATE=1: write it)
	@$(PYTHON) tools/environments.py build --python one --with bench
	@$$($(PYTHON) tools/environments.py which) bench/budget.py $(if $(UPDATE),--update)

check: tidy lint test sanitize ## everything that CI runs

clean: ## remove everything that was made here: environments, wheels, compiled code, pictures
	rm -rf .venv build dist out target .mypy_cache .pytest_cache .ruff_cache
