# Targets that users rely on; `make help` lists them.

GO ?= go
BIN := bin/lightweight-tunnel
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
COMMIT ?= $(shell git rev-parse --short HEAD 2>/dev/null)
# STRIP= keeps the symbols that profilers want.
STRIP ?= -s -w
LDFLAGS := $(STRIP) -X main.version=$(VERSION) -X main.commit=$(COMMIT)
BUILD := CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)'
PLATFORMS := amd64 arm64 arm mips mipsle riscv64

DESTDIR ?=
PREFIX ?= /usr/local
UNIT_DIR ?= /etc/systemd/system
SERVICE_NAME ?= lightweight-tunnel
CONFIG_PATH ?= /etc/lightweight-tunnel/config.json
FUZZTIME ?= 20s
# The linter that `make lint` fetches through the Go module proxy when there is none in PATH.
GOLANGCI_LINT ?= github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
BENCH ?=
NAT ?=

.DEFAULT_GOAL := build
.PHONY: build install install-service uninstall demo test bench bench-loss nat-matrix fuzz lint deb release clean help

build: ## build the static binary, bin/lightweight-tunnel
	$(BUILD) -o $(BIN) ./cmd/lightweight-tunnel

install: build ## install binary, shell completions and man page below PREFIX (/usr/local)
	install -D -m 755 $(BIN) $(DESTDIR)$(PREFIX)/bin/lightweight-tunnel
	install -d $(DESTDIR)$(PREFIX)/share/bash-completion/completions $(DESTDIR)$(PREFIX)/share/zsh/site-functions \
		$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d $(DESTDIR)$(PREFIX)/share/man/man8
	$(BIN) completion bash >$(DESTDIR)$(PREFIX)/share/bash-completion/completions/lightweight-tunnel
	$(BIN) completion zsh >$(DESTDIR)$(PREFIX)/share/zsh/site-functions/_lightweight-tunnel
	$(BIN) completion fish >$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/lightweight-tunnel.fish
	$(BIN) man >$(DESTDIR)$(PREFIX)/share/man/man8/lightweight-tunnel.8

install-service: ## install, enable and start a systemd unit: CONFIG_PATH=... SERVICE_NAME=...
	@test -x $(DESTDIR)$(PREFIX)/bin/lightweight-tunnel || { echo "install-service: no $(PREFIX)/bin/lightweight-tunnel here: run make install first" >&2; exit 1; }
	@test -r "$(CONFIG_PATH)" || { echo "install-service: cannot read CONFIG_PATH=$(CONFIG_PATH): write it first (lightweight-tunnel -g $(CONFIG_PATH))" >&2; exit 1; }
	install -d $(DESTDIR)$(UNIT_DIR)
	sed -e 's|@BINARY@|$(PREFIX)/bin/lightweight-tunnel|' -e 's|@CONFIG@|$(abspath $(CONFIG_PATH))|' -e 's|@NAME@|$(SERVICE_NAME)|g' \
		scripts/lightweight-tunnel.service.in >$(DESTDIR)$(UNIT_DIR)/$(SERVICE_NAME).service
	@if [ -z "$(DESTDIR)" ]; then systemctl daemon-reload && systemctl enable --now $(SERVICE_NAME).service; fi

uninstall: ## stop and remove the service SERVICE_NAME, the binary, completions and man page
	@if [ -z "$(DESTDIR)" ] && [ -e $(UNIT_DIR)/$(SERVICE_NAME).service ]; then systemctl disable --now $(SERVICE_NAME).service || true; fi
	rm -f $(DESTDIR)$(UNIT_DIR)/$(SERVICE_NAME).service $(DESTDIR)$(PREFIX)/bin/lightweight-tunnel \
		$(DESTDIR)$(PREFIX)/share/bash-completion/completions/lightweight-tunnel $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_lightweight-tunnel \
		$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/lightweight-tunnel.fish $(DESTDIR)$(PREFIX)/share/man/man8/lightweight-tunnel.8
	@echo "configuration and state (/etc/lightweight-tunnel, /var/lib/lightweight-tunnel) are left where they are"

demo: ## a seed and two sites behind NAT, on this machine, in network namespaces
	@scripts/deps.sh demo
	@$(MAKE) --no-print-directory build
	@$(GO) build -o bin/demo ./scripts/demo
	@scripts/as-root bin/demo $(BIN)

# Binaries are built as the user and tested as root, so that the build cache
# stays the user's. Packages with synctest bubbles run on one processor: under the
# race detector the timers of a bubble share one context of it, which two threads
# that run timers at once destroy (Go 1.26: SIGSEGV, or races that are none). The
# mesh tests measure seconds on a live kernel: they run last and alone. Nothing is
# taken from the test cache, which knows nothing of kernels.
test: ## everything: vet, unit, kernel and mesh tests under the race detector
	@scripts/deps.sh test
	$(GO) vet ./...
	@$(MAKE) --no-print-directory build
	$(GO) build -race -trimpath -o bin/lightweight-tunnel-race ./cmd/lightweight-tunnel
	cd scripts/bench && $(GO) vet ./... && $(GO) test -count=1 ./...
	bubbles=$$($(GO) list -f '{{range .TestImports}}{{if eq . "testing/synctest"}}{{$$.ImportPath}}{{end}}{{end}}' ./...) && \
		$(GO) test -race -cpu 1 -count=1 -timeout 8m -exec $(CURDIR)/scripts/as-root $$bubbles && \
		$(GO) test -race -count=1 -timeout 8m -exec $(CURDIR)/scripts/as-root \
			$$($(GO) list ./... | grep -v /scripts/e2e | grep -vxF "$$bubbles")
	$(GO) test -count=1 -run 'TestAMeshOfFiftyNodesIsQuietWhenIdle' ./node
	LT_BIN=$(CURDIR)/$(BIN) LT_RACE_BIN=$(CURDIR)/bin/lightweight-tunnel-race \
		$(GO) test -count=1 -timeout 12m -exec $(CURDIR)/scripts/as-root ./scripts/e2e

bench: ## ratios against wireguard-go and the bare link, in one run; BENCH='-only tcp -seconds 2' selects
	@scripts/deps.sh bench
	@$(MAKE) --no-print-directory build
	@cd scripts/bench && $(GO) build -o ../../bin/bench .
	@scripts/as-root bin/bench -node $(BIN) $(BENCH)

bench-loss: ## bad lines: loss, bursts, congestion, outages, in one run (half an hour); BENCH='-only random -seconds 5 -repeats 1' selects
	@scripts/deps.sh bench
	@$(MAKE) --no-print-directory build
	@cd scripts/bench && $(GO) build -o ../../bin/bench .
	@scripts/as-root bin/bench loss -node $(BIN) $(BENCH)

nat-matrix: ## real nodes behind every pair of kinds of NAT (ten minutes); fails if a pair that must be direct is not; NAT='-only full,random -transport udp -repeat 5' selects
	@scripts/deps.sh demo
	@$(MAKE) --no-print-directory build
	@$(GO) build -o bin/natmatrix ./scripts/natmatrix
	@scripts/as-root bin/natmatrix -strict $(NAT) $(BIN)

fuzz: ## each fuzz target for FUZZTIME (20s)
	@$(GO) list ./... | while read -r package; do \
		for target in $$($(GO) test -list '^Fuzz' $$package | grep '^Fuzz'); do \
			echo "$$package $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$package || exit 1; \
		done || exit 1; \
	done

lint: ## vet, gofmt, and golangci-lint with the import layers (.golangci.yml)
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { echo "gofmt would change:"; gofmt -l $$(git ls-files '*.go'); exit 1; }
	$(GO) vet ./...
	@if command -v golangci-lint >/dev/null 2>&1; then golangci-lint run ./...; \
	else echo "no golangci-lint in PATH: building $(GOLANGCI_LINT)"; $(GO) run $(GOLANGCI_LINT) run ./...; fi

deb: build ## a Debian package in dist/
	@scripts/deps.sh deb
	VERSION='$(VERSION)' BUILT=$(BIN) scripts/deb.sh

release: ## static binaries for every supported architecture in dist/
	@mkdir -p dist
	@for arch in $(PLATFORMS); do \
		echo "dist/lightweight-tunnel-linux-$$arch"; \
		GOOS=linux GOARCH=$$arch GOARM=6 GOMIPS=softfloat $(BUILD) -o dist/lightweight-tunnel-linux-$$arch ./cmd/lightweight-tunnel || exit 1; \
	done
	@cd dist && sha256sum lightweight-tunnel-linux-* >SHA256SUMS

clean: ## remove what was built
	rm -rf bin dist

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-16s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
