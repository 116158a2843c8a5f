#!/bin/sh
# TensorFlow Federated's pins clash with ours, so it gets an environment of its own; dpaudit is read from the checkout.
# Its C++ worker outlives Python and would hold a pipe open: output goes to a file, and the worker is ended by its parent.
set -eu
cd "$(dirname "$0")/../.."
env=.venv-tff
[ -x "$env/bin/pytest" ] || {
  "${PYTHON:-python3.11}" -m venv "$env"
  "$env/bin/pip" install -q tensorflow==2.15.1 tensorflow-privacy==0.9.0 googleapis-common-protos==1.61.0 \
    tensorflow-model-optimization==0.7.5 portpicker "cachetools~=5.3" tqdm jax==0.4.13 jaxlib==0.4.13 \
    lazy-loader pytest pydantic pandas scikit-learn
  "$env/bin/pip" install -q --no-deps tensorflow-federated==0.87.0 google-vizier==0.1.11
}
log=$(mktemp)
status=0
PYTHONPATH=. TF_CPP_MIN_LOG_LEVEL=3 setsid "$env/bin/python" -m pytest -q -s -p no:cacheprovider -o addopts="" \
  -o filterwarnings="" -o xfail_strict=true tests/integrations/test_tff.py > "$log" 2>&1 &
child=$!
wait "$child" || status=$?
kill -- "-$child" 2>/dev/null || true
cat "$log"
rm -f "$log"
exit "$status"
