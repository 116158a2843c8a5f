#!/bin/sh
# Flower's pins clash with ours, so it gets an environment of its own, shared by its tests and its benchmark.
set -eu
cd "$(dirname "$0")/../.."
env=.venv-flower
[ -x "$env/bin/pytest" ] || {
  "${PYTHON:-python3.11}" -m venv "$env"
  "$env/bin/pip" install -q "flwr[simulation]==1.23.0" numpy scipy dp-accounting lazy-loader pytest
}
