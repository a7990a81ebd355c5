# SPDX-License-Identifier: Apache-2.0
#
# make help says what there is. Variables that may be set on the command line:
#   PKGS      packages for check, test and race  (./...)
#   RUN       only tests whose name matches
#   V2_PKGS, V2_RUN   the same for test-v2
#   PREFIX, DESTDIR   where to install           (/usr/local, nothing)

GO       ?= go
PREFIX   ?= /usr/local
DESTDIR  ?=
BINDIR   ?= $(PREFIX)/bin
UNITDIR  ?= $(PREFIX)/lib/systemd/system
PKGS     ?= ./...
RUN      ?= .
V2_PKGS  ?=
V2_RUN   ?= .

VERSION  := $(shell git describe --always --dirty 2>/dev/null || echo unknown)
SHIM     := containerd-shim-minikubelet-v1
PACKED   := runtime/engine/packed
# Nothing of the machine or of the commit goes into runc and the shim: equal
# inputs make equal files, and the agent unpacks them only when they change.
STATIC   := CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false

.DEFAULT_GOAL := build
.DELETE_ON_ERROR:
.PHONY: help prerequisites build bin/kubectl bin/externalcontainerd check lint test race test-v2 demo bench bench-api install uninstall clean

help: ## Show this text
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile

prerequisites:
	@GO="$(GO)" hack/prerequisites

# Whether something has to be built again is Go's own decision: it knows.
build: prerequisites bin/kubectl ## Build bin/minikubelet, with runc and the shim inside, and bin/kubectl
	@mkdir -p bin
	CGO_ENABLED=1 $(GO) build -trimpath -buildvcs=false -tags 'seccomp netgo osusergo runc_nocriu' \
	  -ldflags '-s -w -linkmode external -extldflags -static' -o bin/runc github.com/opencontainers/runc
	$(STATIC) -ldflags '-s -w' -o bin/$(SHIM) ./cmd/$(SHIM)
	@$(GO) run ./hack/pack -o $(PACKED) bin/runc bin/$(SHIM)
	$(STATIC) -tags packed -ldflags '-s -w -X main.version=$(VERSION) -X main.runcVersion=$(shell $(GO) list -m -f '{{.Version}}' github.com/opencontainers/runc)' -o bin/minikubelet ./cmd/minikubelet

check: lint ## Formatting, vet, staticcheck and the unit tests
	$(GO) test -short -run '$(RUN)' $(PKGS)

lint: prerequisites ## Formatting, vet and staticcheck
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); \
	  test -z "$$unformatted" || { echo "run gofmt -w on:"; echo "$$unformatted"; exit 1; }
	$(GO) vet $(PKGS)
	$(GO) tool staticcheck $(PKGS)

# The pinned kubectl: what the tests drive, and what a newcomer may use.
bin/kubectl: prerequisites
	@mkdir -p bin
	@$(STATIC) -ldflags "-s -w -X k8s.io/component-base/version.gitVersion=$$($(GO) list -m -f '{{.Version}}' k8s.io/kubernetes)" \
	  -o $@ k8s.io/kubernetes/cmd/kubectl

bin/externalcontainerd: prerequisites
	@$(STATIC) -ldflags '-s -w' -o $@ ./hack/externalcontainerd

test: build bin/externalcontainerd ## Every test, real containers included (as root)
	@GO="$(GO)" hack/prerequisites dbus-daemon mkfs.ext4:e2fsprogs
	PATH="$(CURDIR)/bin:$$PATH" $(GO) test -timeout 30m -run '$(RUN)' $(PKGS)
	$(GO) test -tags packed -run Packed ./runtime/engine

# Without PKGS, the packages in which goroutines share something.
race: PKGS := $(if $(filter ./...,$(PKGS)),./agent/... ./apiserver/... ./podmgr/... ./store/...,$(PKGS))
race: build ## The race detector over what is concurrent (as root)
	PATH="$(CURDIR)/bin:$$PATH" $(GO) test -race -timeout 30m -run '$(RUN)' $(PKGS)

test-v2: build bin/externalcontainerd ## The container tests under cgroup v2, in a VM if need be
	GO="$(GO)" V2_PKGS='$(V2_PKGS)' V2_RUN='$(V2_RUN)' hack/test-v2

demo: build ## Run examples/init-demo.yaml with a local busybox image
	$(GO) run ./hack/busyboximage -o bin/busybox.tar
	hack/demo bin/busybox.tar examples/init-demo.yaml

bench: build ## Measure against the bare runtime
	PATH="$(CURDIR)/bin:$$PATH" $(GO) run ./hack/bench

bench-api: build ## Measure the API, beside kube-apiserver with etcd when both are installed
	PATH="$(CURDIR)/bin:$$PATH" $(GO) run ./hack/bench -only requests,watchers,objects,serve,apply

install: ## Install the program and its systemd unit (as root)
	@test -x bin/minikubelet || $(MAKE) build
	install -D -m 0755 bin/minikubelet '$(DESTDIR)$(BINDIR)/minikubelet'
	install -d -m 0755 '$(DESTDIR)/etc/minikubelet/manifests' '$(DESTDIR)$(UNITDIR)'
	sed 's|@BINDIR@|$(BINDIR)|g' hack/minikubelet.service >'$(DESTDIR)$(UNITDIR)/minikubelet.service'
	chmod 0644 '$(DESTDIR)$(UNITDIR)/minikubelet.service'
	@if test -z '$(DESTDIR)' && test -d /run/systemd/system; then systemctl daemon-reload; fi
	@echo 'Start it, now and at each boot: systemctl enable --now minikubelet'
	@echo 'Without systemd: $(BINDIR)/minikubelet serve'

uninstall: ## Remove what install made; Pods and data stay
	@if test -z '$(DESTDIR)' && test -d /run/systemd/system; then systemctl disable --now minikubelet || true; fi
	rm -f '$(DESTDIR)$(BINDIR)/minikubelet' '$(DESTDIR)$(UNITDIR)/minikubelet.service' '$(DESTDIR)/etc/systemd/logind.conf.d/99-minikubelet.conf'
	@if test -z '$(DESTDIR)' && test -d /run/systemd/system; then systemctl daemon-reload; fi
	-rmdir '$(DESTDIR)/etc/minikubelet/manifests' '$(DESTDIR)/etc/minikubelet' 2>/dev/null
	@echo 'Kept: /var/lib/minikubelet, /var/log/pods and running Pods (stop those with "minikubelet stop --pods" beforehand).'

clean: ## Remove what was built
	rm -rf bin $(PACKED)
