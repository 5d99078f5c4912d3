#!/usr/bin/env bash
# Writes the locks: one for development, one an image. Usage: requirements/compile.sh [--upgrade]
set -euo pipefail
cd "$(dirname "$0")/.."
ours=()
for name in core auth email chat translate static operator cli node dev e2e; do
  ours+=(--no-emit-package "ashchat-$name")
done
lock() { # OUT ARGUMENT...
  local out=$1
  shift
  uv pip compile "$@" "${ours[@]}" --quiet --universal --python-version 3.11 \
    --generate-hashes --no-header --no-annotate --no-emit-index-url --no-emit-find-links \
    --output-file "requirements/$out.txt"
}
lock dev pyproject.toml --group dev "${@}"
for service in auth email chat translate static; do
  lock "$service" "services/$service/pyproject.toml" --constraints requirements/dev.txt "${@}"
done
lock operator operator/pyproject.toml --constraints requirements/dev.txt "${@}"
