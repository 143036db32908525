.PHONY: help check demo bench fmt

help:
	@echo 'make check   check everything: format, dependencies, lints, documentation, tests'
	@echo 'make demo    log in here, with a software card and a simulated broker'
	@echo 'make bench   measure what BENCHES.md quotes'
	@echo 'make fmt     format the sources'

check:
	@scripts/check

demo:
	@scripts/demo

bench:
	@scripts/bench

fmt:
	cargo fmt --all
