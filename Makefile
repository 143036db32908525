.PHONY: help check demo fmt

help:
	@echo 'make check   check everything: format, dependencies, lints, documentation, tests'
	@echo 'make demo    log in here, with a software card and a simulated broker'
	@echo 'make fmt     format the sources'

check:
	@scripts/check

demo:
	@scripts/demo

fmt:
	cargo fmt --all
