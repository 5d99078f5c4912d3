# AshChat. `make` alone lists the targets.
PYTHON ?= python3
ASHCHAT := .venv/bin/ashchat-dev
.DEFAULT_GOAL := help
export T MARK ARGS

##@ Run AshChat

.PHONY: up demo status docker down clean
up: tools ## Start a cluster and an AshChat in it; show a conversation
	@$(ASHCHAT) up
demo: tools ## Show the conversation again: three people, three languages
	@$(ASHCHAT) demo
status: tools ## Report the state of each component
	@$(ASHCHAT) status
docker: tools ## Install Docker and start it (Debian, root); `make down` stops it
	@$(ASHCHAT) docker
down: tools ## Remove the cluster; built images stay in the cache
	@$(ASHCHAT) down
clean: tools ## Remove the cluster and the caches
	@$(ASHCHAT) clean

##@ Test (T=<paths or ids>, MARK=<marks>, ARGS=<pytest arguments>)

.PHONY: test lint unit smoke smoke-kind ci test-e2e test-nodes soak
test: tools ## Run everything: static checks, unit and end-to-end tests
	@$(ASHCHAT) test
lint: tools ## Run the static checks
	@$(ASHCHAT) lint
unit: tools ## Run the unit tests, or T=operator/tests/kube
	@$(ASHCHAT) unit
smoke: tools ## Run the short end-to-end tests, at most 3 minutes
	@$(ASHCHAT) smoke
smoke-kind: tools ## Run them on a kind cluster that exists only for this
	@$(ASHCHAT) smoke-kind
ci: tools ## Run test, and then smoke-kind
	@$(ASHCHAT) ci
test-e2e: tools ## Run the end-to-end tests, or T=chat MARK="not slow"
	@$(ASHCHAT) test-e2e
test-nodes: tools ## Run the tests of lost nodes, on a kind cluster of three
	@$(ASHCHAT) test-nodes
soak: tools ## Run property tests with new examples, and every sweep whole
	@$(ASHCHAT) soak

##@ Measure

.PHONY: bench-auth bench-chat bench-operator
bench-auth: tools ## Sign in 200 times at once; writes results/auth/
	@$(ASHCHAT) bench-auth
bench-chat: tools ## Measure sockets of chat and its peers; writes results/chat/
	@$(ASHCHAT) bench-chat
bench-operator: tools ## Measure the operator; writes results/operator/
	@$(ASHCHAT) bench-operator

##@ Maintain

.PHONY: help tools locks
tools: ## Install the tools into .venv from the locks
	@$(PYTHON) dev/bootstrap.py
locks: tools ## Update the dependencies and rewrite the locks
	@PATH="$(CURDIR)/.venv/bin:$$PATH" requirements/compile.sh --upgrade
help: ## List the targets
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} \
	  /^[a-z0-9-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "CLUSTER=kind|node|current chooses the cluster: by default one that exists; else kind"
	@echo "where Docker answers, else (on Linux, as root) a one-node Kubernetes from packages."
	@echo "kind: NODES=3 nodes; KIND_NODE_IMAGE=pull|build official images or images from packages,"
	@echo "by default as the registry answers; KIND_PORT_OFFSET=1000 other ports than a node's."
