.PHONY: help check demo bench fuzz fmt header install uninstall packages check-packages windows check-windows

help:
	@echo 'make check   check everything: format, dependencies, lints, documentation, tests'
	@echo 'make demo    log in here, with a software card and a simulated broker'
	@echo 'make bench   measure what BENCHES.md quotes'
	@echo 'make fuzz    fuzz every parser and the C API, SECONDS=60 each'
	@echo 'make fmt     format the sources'
	@echo 'make header  write include/TicketApi.h anew from its sources'
	@echo 'make packages   build packages for Debian, RPM systems and others into target/packages; as root, try them'
	@echo 'make check-packages   the same, and fail if building them again gives one other byte'
	@echo 'make windows   build TicketApiDll.dll, the card helper and the dialogs for 64- and 32-bit Windows into target/windows'
	@echo 'make check-windows   check them under Wine, as root'
	@echo 'make install PREFIX=/usr/local DESTDIR=   build and install the C library; make uninstall removes it'

check:
	@scripts/check

demo:
	@scripts/demo

bench:
	@scripts/bench
	@scripts/build-library
	@scripts/bench-c --check
	@scripts/build-java package -DskipTests
	@scripts/bench-java --check
	@scripts/bench-agent --check
	@scripts/bench-web --check

fuzz:
	@scripts/fuzz $(SECONDS)

fmt:
	cargo fmt --all
	cargo fmt --manifest-path fuzz/Cargo.toml

header:
	@scripts/header

packages:
	@scripts/package
	@[ "$$(id -u)" != 0 ] || scripts/try-packages

check-packages:
	@scripts/check-packages

install:
	@PREFIX='$(PREFIX)' DESTDIR='$(DESTDIR)' scripts/install install

uninstall:
	@PREFIX='$(PREFIX)' DESTDIR='$(DESTDIR)' scripts/install uninstall

windows:
	@scripts/windows/build

check-windows:
	@scripts/windows/check
