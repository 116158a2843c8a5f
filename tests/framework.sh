#!/bin/sh
# What needs PyTorch and Opacus (`torch`), or JAX and jax-privacy (`jax`), in an environment without TensorFlow; dpaudit is
# read from the checkout.
set -eu
cd "$(dirname "$0")/.."
framework=$1
shift
case "$framework" in
  torch) packages='torch>=2.4 opacus>=1.5 transformers>=4.46 accelerate lightning>=2.2' ;;
  jax) packages='jax>=0.4.30 jax-privacy>=1.0 flax>=0.8' ;;
  *) echo "usage: tests/framework.sh torch|jax" >&2; exit 2 ;;
esac
env=".venv-$framework"
[ -x "$env/bin/pytest" ] || {
  "${PYTHON:-python3.11}" -m venv "$env"
  # shellcheck disable=SC2086  # several packages
  "$env/bin/pip" install -q $packages numpy scipy pandas "pyarrow>=14,<24" scikit-learn "dp-accounting>=0.4.3" pydantic \
    typer rich jinja2 matplotlib joblib threadpoolctl lazy-loader tomli-w typing-extensions pytest
}
# Only the files that have such tests: others import what is not installed here.
PYTHONPATH=. OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 "$env/bin/python" -m pytest -q -p no:cacheprovider \
  -m "$framework and not slow" -rs "$@" $(grep -rl --include='test_*.py' "mark\.$framework" tests)
