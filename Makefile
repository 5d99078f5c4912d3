# AshChat. `make` alone tells what there is.
PYTHON ?= python3
ASHCHAT := .venv/bin/ashchat-dev
.DEFAULT_GOAL := help

.PHONY: help tools up status down clean demo bench-auth bench-operator test lint unit locks

help: ## what there is
	@echo "make up      a cluster, the images, the operator, an AshChat, a conversation"
	@echo "make demo    two people talk, each in their own language (after make up)"
	@echo "make status  how AshChat is, per component"
	@echo "make test    static checks, unit tests, manifests, the suite in the cluster"
	@echo "make lint    the static checks alone        make unit   the unit tests alone"
	@echo "make bench-auth  200 sign-ins at once, measured; writes results/auth/"
	@echo "make bench-operator  the operator, measured; writes results/operator/"
	@echo "make down    remove the cluster             make clean  the caches too"
	@echo "make locks   resolve the locks anew"
	@echo
	@echo "CLUSTER=kind|node|current chooses the cluster; the default is kind where"
	@echo "Docker answers, else (Linux, root) a one-node Kubernetes from packages."

tools:
	@$(PYTHON) dev/bootstrap.py

up: tools ## a running AshChat
	@$(ASHCHAT) up

status: tools
	@$(ASHCHAT) status

down: tools
	@$(ASHCHAT) down

clean: tools
	@$(ASHCHAT) clean

demo: tools
	@$(ASHCHAT) demo

bench-operator: tools
	@$(ASHCHAT) bench-operator

bench-auth: tools
	@$(ASHCHAT) bench-auth

test: tools
	@$(ASHCHAT) test

lint: tools
	@$(ASHCHAT) lint

unit: tools
	@$(ASHCHAT) unit

locks: tools
	@PATH="$(CURDIR)/.venv/bin:$$PATH" requirements/compile.sh --upgrade
