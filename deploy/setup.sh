#!/bin/sh
# Installs what Remuda and its tests need on Debian or Ubuntu: a Redis server, Python, a compiler; and, unless called as
# `setup.sh demo`, cargo-nextest and the frameworks that the tests run. Repeating it is cheap.
set -eu
cd "$(dirname "$0")/.."
what=${1:-all}

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; elif command -v sudo >/dev/null; then sudo "$@"; else
    echo "setup: root or sudo is needed to install: $*" >&2
    exit 1
  fi
}

missing=
need() { command -v "$1" >/dev/null || missing="$missing $2"; }
command -v valkey-server >/dev/null || need redis-server redis-server
need cc build-essential
need python3 python3
python3 -c 'import ensurepip, venv' 2>/dev/null || missing="$missing python3-venv"
# what the tests run besides: adapters, and the frameworks whose recipes are tried (docs/recipes.md)
if [ "$what" != demo ]; then
  need flock util-linux
  need openssl openssl
  need ruby ruby
  need rspec ruby-rspec
  need bundle ruby-bundler
  ruby -rsimplecov -e 0 2>/dev/null || missing="$missing ruby-simplecov"
  ruby -e 'require "minitest"; require "rexml/document"' 2>/dev/null || missing="$missing ruby-minitest ruby-rexml"
  ruby -e 'gem "test-unit"' 2>/dev/null || missing="$missing ruby-test-unit"
  need go golang-go
  need node nodejs
  need npm npm
  need bats bats
  need g++ g++
  [ -e /usr/include/gtest/gtest.h ] || missing="$missing libgtest-dev"
fi
if [ -n "$missing" ]; then
  if ! command -v apt-get >/dev/null; then
    echo "setup: please install:$missing" >&2
    exit 1
  fi
  echo "setup: installing$missing"
  as_root apt-get update -qq
  # shellcheck disable=SC2086
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
fi

[ "$what" != demo ] || exit 0

if ! cargo nextest --version >/dev/null 2>&1; then
  echo "setup: building cargo-nextest (once, some minutes)"
  cargo install --locked cargo-nextest
fi

mkdir -p target
stamp=target/venv/.requirements
if ! cmp -s e2e/requirements.txt "$stamp"; then
  echo "setup: preparing target/venv"
  rm -rf target/venv
  python3 -m venv target/venv
  target/venv/bin/pip install --quiet --disable-pip-version-check -r e2e/requirements.txt
  cp e2e/requirements.txt "$stamp"
fi

stamp=target/robot/.requirements
if ! cmp -s examples/robot/requirements.txt "$stamp"; then
  echo "setup: preparing target/robot"
  rm -rf target/robot
  python3 -m venv target/robot
  target/robot/bin/pip install --quiet --disable-pip-version-check -r examples/robot/requirements.txt
  cp examples/robot/requirements.txt "$stamp"
fi

for example in vitest cucumber; do
  stamp=target/node/$example/.package
  if ! cmp -s "examples/$example/package.json" "$stamp"; then
    echo "setup: preparing target/node/$example"
    rm -rf "target/node/$example"
    mkdir -p "target/node/$example"
    cp "examples/$example/package.json" "target/node/$example/"
    npm install --prefix "target/node/$example" --silent --no-audit --no-fund --no-package-lock
    cp "examples/$example/package.json" "$stamp"
  fi
done

# the environments of the pytest runner's own tests: the newest pytest with plugins, and the oldest that is supported
bash worker/runners/pytest/tests/setup.sh target/pytest
