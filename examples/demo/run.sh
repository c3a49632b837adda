#!/bin/sh
# The demo: the real test suite of attrs (source distribution, pinned by hash), test by test through an embedded
# Redis on every core; then the same with plain pytest, for comparison.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
here=$root/examples/demo
work=$root/target/demo
mkdir -p "$work"
if [ ! -f "$work/ready" ]; then
  echo "demo: fetching attrs and what its tests need"
  python3 -m venv "$work/venv"
  "$work/venv/bin/pip" download --quiet --disable-pip-version-check --no-deps --no-binary :all: --require-hashes \
    --dest "$work" -r "$here/requirements.txt"
  tar -xzf "$work"/attrs-*.tar.gz -C "$work"
  "$work/venv/bin/pip" install --quiet --disable-pip-version-check "$work"/attrs-*/ -r "$here/test-requirements.txt"
  touch "$work/ready"
fi
cd "$work"/attrs-*/
PATH=$work/venv/bin:$PATH
export PATH
# This one test of attrs 26.1.0 fails under plain pytest as well (on Python 3.11 and 3.12).
skip=tests/test_converters.py::TestPipe::test_wrapped_annotation
echo "demo: remuda run -- pytest --deselect $skip"
"$root/target/release/remuda" run -- pytest --deselect "$skip"
echo
echo "demo: the same with plain pytest:"
start=$(date +%s.%N)
pytest -q -p no:cacheprovider --deselect "$skip" 2>&1 | tail -n 1
end=$(date +%s.%N)
awk -v a="$start" -v b="$end" 'BEGIN { printf "demo: plain pytest took %.1f s from start to end\n", b - a }'
