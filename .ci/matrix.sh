#!/bin/sh
# The core without TensorFlow on Python 3.12 and 3.13, there with TensorFlow a training, and everything on TensorFlow 2.15 with Python 3.11.
# A Python that is not there is named and left out; with none of them the matrix fails.
set -eu
cd "$(dirname "$0")/.."
ran=0

environment() { # name, python, pip arguments...
  folder=".matrix/$1" python=$2
  shift 2
  [ -x "$folder/bin/python" ] || "$python" -m venv "$folder"
  "$folder/bin/python" -m pip install --quiet --disable-pip-version-check "$@"
}

find_python() { # minor
  for candidate in "python3.$1" "$HOME"/.pyenv/versions/3."$1".*/bin/python; do
    if command -v "$candidate" >/dev/null 2>&1 && "$candidate" -c 'import venv' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
}

for minor in 12 13; do
  python=$(find_python $minor)
  if [ -z "$python" ]; then
    echo "Python 3.$minor is not here: left out" >&2
    continue
  fi
  echo "core on Python 3.$minor"
  environment "core-3.$minor" "$python" -e '.[test]'
  ".matrix/core-3.$minor/bin/python" -m pytest -q -m "not tf and not slow and not browser"
  echo "training on Python 3.$minor, without TensorFlow Privacy"
  environment "core-3.$minor" "$python" -e '.[test,tensorflow]'
  ".matrix/core-3.$minor/bin/python" -m pytest -q tests/audits/test_without_tensorflow.py
  ran=$((ran + 1))
done

python=$(find_python 11)
if [ -n "$python" ]; then
  echo "everything on TensorFlow 2.15"
  environment tf-2.15 "$python" -e '.[test]' 'tensorflow==2.15.*' 'tf-keras==2.15.*'
  .matrix/tf-2.15/bin/python -m pytest -q -m "not slow and not browser"
  ran=$((ran + 1))
else
  echo "Python 3.11 is not here: TensorFlow 2.15 is left out" >&2
fi
[ "$ran" -gt 0 ]
