#!/bin/sh
# What needs JAX and jax-privacy, in an environment without TensorFlow; dpaudit is read from the checkout.
set -eu
cd "$(dirname "$0")/.."
env=.venv-jax
[ -x "$env/bin/pytest" ] || {
  "${PYTHON:-python3.11}" -m venv "$env"
  "$env/bin/pip" install -q "jax>=0.4.30" "jax-privacy>=1.0" numpy scipy pandas "pyarrow>=14,<24" scikit-learn \
    "dp-accounting>=0.4.3" pydantic typer rich jinja2 matplotlib joblib threadpoolctl lazy-loader tomli-w pytest
}
# Only the files that have such tests: others import what is not installed here.
PYTHONPATH=. OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 "$env/bin/python" -m pytest -q -p no:cacheprovider -m "jax and not slow" -rs \
  "$@" $(grep -rl --include='test_*.py' 'mark\.jax' tests)
