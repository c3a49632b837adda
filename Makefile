# The everyday commands. Each installs what it needs; a fresh machine needs git, a Rust toolchain and root or sudo.
.PHONY: setup demo test soak bench dist dist-check install uninstall lint unit

PREFIX ?= /usr/local
CARGO ?= cargo

setup: ## installs redis-server, Python, cargo-nextest and the frameworks that the tests run
	@sh deploy/setup.sh

demo: ## runs the real test suite of attrs, test by test, through an embedded Redis
	@sh deploy/setup.sh demo
	@$(CARGO) build --release --bins
	@sh examples/demo/run.sh

test: setup lint unit ## everything CI checks

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --locked --quiet

unit:
	$(CARGO) build --workspace --bins --examples --locked
	target/pytest/new/bin/python -m pytest -q -p no:cacheprovider worker/runners/pytest/tests
	target/pytest/old/bin/python -m pytest -q -p no:cacheprovider worker/runners/pytest/tests
	target/pytest/new/bin/python -m pytest -q -p no:cacheprovider worker/runners/rspec/tests
	$(CARGO) nextest run --workspace --locked

soak: setup ## the long versions: a million property calls, large crash tests
	$(CARGO) build --workspace --bins --examples --locked
	REMUDA_SOAK=1 REMUDA_SOAK_CALLS=1000000 $(CARGO) nextest run --workspace --locked --release --profile soak

bench: setup ## peers side by side; writes bench/RESULTS.md
	$(CARGO) build --release --workspace --bins --examples
	python3 bench/run.py

dist: ## packages in target/dist: an archive for any Linux on x86-64, and a .deb
	@sh deploy/dist.sh

dist-check: setup dist ## tries the packages on a bare Debian, as root
	@sh deploy/dist-check.sh

install: ## installs both programs under PREFIX
	$(CARGO) build --release --bins --locked
	install -d $(DESTDIR)$(PREFIX)/bin
	install -m 755 target/release/remuda target/release/remuda-worker $(DESTDIR)$(PREFIX)/bin/

uninstall:
	rm -f $(DESTDIR)$(PREFIX)/bin/remuda $(DESTDIR)$(PREFIX)/bin/remuda-worker
