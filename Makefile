# Shingle is built and checked from here; `make` alone lists the targets.

SHELL         := bash
.SHELLFLAGS   := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:

# Tools come by version, through the Go module proxy, into a folder that git
# ignores; the version is in the file name, so that a new one is built anew.
GOLANGCI_VERSION    := v2.15.0
GOVULNCHECK_VERSION := v1.8.0

CACHE       := $(CURDIR)/.cache
GOLANGCI    := $(CACHE)/bin/golangci-lint-$(GOLANGCI_VERSION)
GOVULNCHECK := $(CACHE)/bin/govulncheck-$(GOVULNCHECK_VERSION)

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' Makefile

.PHONY: build
build: ## build ./shingle
	CGO_ENABLED=0 go build -trimpath -o shingle ./cmd/shingle

# A suite added later is one more name in this list. What a step could not
# check it writes to UNCHECKED, and the last line of the run repeats it.
UNCHECKED := $(CACHE)/unchecked

.PHONY: test
test: ## everything that CI checks; no test may be skipped
	@mkdir -p $(CACHE) && rm -f $(UNCHECKED)
	@$(MAKE) --no-print-directory fmt-check vet lint vuln race
	@if [ -s $(UNCHECKED) ]; then echo "make test: passed, BUT NOT CHECKED:"; cat $(UNCHECKED); else echo "make test: passed"; fi

.PHONY: race
race: ## every Go test, under the race detector, with the outside servers that they use; the longest first
	@SHINGLE_FULL=1 SHINGLE_UNCHECKED=$(UNCHECKED) go run ./scripts/servers -cache $(CACHE)/servers go run ./scripts/gotest -race -count=1 -timeout=30m ./cmd/shingle ./internal/fleet ./...

.PHONY: quick
quick: ## every Go test, cached, without the race detector
	@go run ./scripts/gotest ./...

.PHONY: fmt
fmt: ## format the Go files
	gofmt -s -w .

.PHONY: fmt-check
fmt-check:
	@files=$$(gofmt -s -l .); [ -z "$$files" ] || { echo "gofmt: run 'make fmt':"; echo "$$files"; exit 1; }

.PHONY: vet
vet: ## go vet
	go vet ./...

.PHONY: lint
lint: $(GOLANGCI) ## golangci-lint, as .golangci.yml says
	$(GOLANGCI) run ./...

.PHONY: vuln
vuln: $(GOVULNCHECK) ## known vulnerabilities in what the code calls
	@mkdir -p $(CACHE)
	@scripts/vuln $(GOVULNCHECK) $(UNCHECKED)

.PHONY: screenshots
screenshots: ## take the pictures of the panel in docs/images anew
	SHINGLE_TEST_SCREENSHOTS=$(CURDIR)/docs/images go run ./scripts/servers -cache $(CACHE)/servers -only chromium go test -count=1 -run 'Panel|InABrowser' ./cmd/shingle ./internal/panel

.PHONY: deb
deb: ## Debian packages, in dist
	@go run ./scripts/servers -cache $(CACHE)/servers -only nfpm scripts/release deb

.PHONY: release
release: ## programs for Linux and macOS, Debian packages and SHA256SUMS, in dist; the same bytes everywhere
	@go run ./scripts/servers -cache $(CACHE)/servers -only nfpm scripts/release

.PHONY: bench
bench: ## compare the edge with other proxies; options in ARGS, such as ARGS='-rounds 2 -seconds 1'
	go run ./bench $(ARGS)

.PHONY: bench-fleet
bench-fleet: ## starts, memory, reads and change delay of a fleet; options in ARGS, such as ARGS='-domains 1000000'
	go run ./scripts/servers -cache $(CACHE)/servers -only dynamodb go run ./bench/fleet $(ARGS)

.PHONY: clean
clean: ## remove what was built, the tools too
	rm -rf shingle dist $(CACHE) bench/results

$(GOLANGCI):
	@scripts/tool github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION) $@

$(GOVULNCHECK):
	@scripts/tool golang.org/x/vuln/cmd/govulncheck@$(GOVULNCHECK_VERSION) $@
