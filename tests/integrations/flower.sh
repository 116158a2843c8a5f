#!/bin/sh
# The Flower integration against the real package; dpaudit is read from the checkout.
set -eu
cd "$(dirname "$0")/../.."
sh tests/integrations/flower_environment.sh
PYTHONPATH=. .venv-flower/bin/python -m pytest -q -p no:cacheprovider -o addopts="" -o filterwarnings="" \
  -o xfail_strict=true tests/integrations/test_flower.py
