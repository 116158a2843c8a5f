#!/bin/sh
# Install the extra $2 into the environment $1, in the tested versions.
set -eu
cd "$(dirname "$0")/.."
minor=$("$1/bin/python" -c 'import sys; print(f"{sys.version_info[0]}.{sys.version_info[1]}")')
"$1/bin/python" -m pip install --quiet --disable-pip-version-check -c "constraints-$minor.txt" -e ".[$2]"
