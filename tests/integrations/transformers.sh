#!/bin/sh
# The reader of Hugging Face models against the real packages; dpaudit is read from the checkout.
set -eu
cd "$(dirname "$0")/../.."
env=.venv-transformers
[ -x "$env/bin/pytest" ] || {
  "${PYTHON:-python3.11}" -m venv "$env"
  "$env/bin/pip" install -q torch transformers numpy scipy pandas pyarrow pydantic scikit-learn lazy-loader pytest
}
PYTHONPATH=. "$env/bin/python" -m pytest -q -p no:cacheprovider -o addopts="" -o filterwarnings="" \
  tests/integrations/test_hugging_face.py
