#!/bin/sh
# Make the virtual environment $1 with the Python $2 (or the first 3.10 or 3.11 found) and install dpaudit into it.
set -eu
venv=$1
wanted=${2:-}
cd "$(dirname "$0")/.."

fits() { "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] < (3, 12))' >/dev/null 2>&1; }

if [ ! -L dpaudit/attacks ] || [ ! -L dpaudit/reports ]; then
  echo "dpaudit/attacks and dpaudit/reports must be links; check out again with: git config core.symlinks true" >&2
  exit 2
fi
if [ -x "$venv/bin/python" ] && ! fits "$venv/bin/python"; then
  echo "$venv holds another Python than 3.10 or 3.11; remove it or give another folder: make VENV=.venv311 ..." >&2
  exit 2
fi
if [ ! -x "$venv/bin/python" ]; then
  python=
  for candidate in $wanted python3.11 python3.10 python3 python; do
    if command -v "$candidate" >/dev/null 2>&1 && fits "$candidate"; then python=$candidate; break; fi
  done
  if [ -n "$python" ]; then
    "$python" -m venv "$venv"
  elif command -v uv >/dev/null 2>&1; then
    uv venv --quiet --seed --python 3.11 "$venv"
  else
    echo "dpaudit needs Python 3.10 or 3.11 (TensorFlow Privacy ends there); install one, for example with" \
      "'apt install python3.11-venv' or 'uv python install 3.11', or name it: make PYTHON=/path/to/python3.11" >&2
    exit 2
  fi
fi
minor=$("$venv/bin/python" -c 'import sys; print(f"{sys.version_info[0]}.{sys.version_info[1]}")')
echo "installing into $venv (Python $minor); this is done once"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check -c "constraints-$minor.txt" -e '.[dev]'
