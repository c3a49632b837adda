#!/usr/bin/env bash
# Makes two environments for the tests: DIR/new (pytest 9 and the plugins) and DIR/old (pytest 7, none).
# Usage: setup.sh DIR; then: DIR/new/bin/python -m pytest worker/runners/pytest/tests
set -euo pipefail
folder=${1:?usage: setup.sh DIR}
python=${PYTHON:-python3}
make_environment() {
  local name=$1
  shift
  local wanted="$*"
  if [ "$(cat "$folder/$name/wanted" 2>/dev/null)" != "$wanted" ]; then
    "$python" -m venv "$folder/$name"
    "$folder/$name/bin/pip" install --quiet --disable-pip-version-check "$@"
    printf '%s' "$wanted" > "$folder/$name/wanted"
  fi
}
mkdir -p "$folder"
make_environment new pytest==9.2.0 pytest-xdist==3.8.0 pytest-cov==7.1.0 coverage==7.17.3 \
  pytest-timeout==2.4.0 Django==5.2.19 pytest-django==4.14.0 pytest-asyncio==1.5.0 pytest-html==4.2.0 \
  pytest-rerunfailures==16.7 pytest-randomly==5.1.0
make_environment old pytest==7.4.4
