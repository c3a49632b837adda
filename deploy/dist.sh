#!/bin/sh
# Makes what people install, in target/dist: an archive for any Linux on x86-64 and a .deb, each with a Redis server for
# runs without a farm. Needs Debian 12 or Ubuntu 24.04 (for the source of that Redis) and rustup. Tried by dist-check.sh.
set -eu
cd "$(dirname "$0")/.."

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; elif command -v sudo >/dev/null; then sudo "$@"; else
    echo "dist: root or sudo is needed to install: $*" >&2
    exit 1
  fi
}
missing=
need() { command -v "$1" >/dev/null || missing="$missing $2"; }
need cc build-essential
need musl-gcc musl-tools
need dpkg-source dpkg-dev
need python3 python3
if [ -n "$missing" ]; then
  command -v apt-get >/dev/null || { echo "dist: please install:$missing" >&2; exit 1; }
  echo "dist: installing$missing"
  as_root apt-get update -qq
  # shellcheck disable=SC2086
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
fi

version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
out=target/dist
mkdir -p "$out"
sh deploy/dist/redis.sh "$out/redis"
programs=$(sh deploy/dist/programs.sh)
# not before: crates with C would be built again after every commit
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct 2>/dev/null || date +%s)
export SOURCE_DATE_EPOCH
sh deploy/dist/stage.sh "$programs" "$out/redis" "$out/tree"
sh deploy/dist/deb.sh "$out/tree" "$version" "$out/remuda_${version}_amd64.deb"

name=remuda-$version-x86_64-linux
rm -rf "${out:?}/$name"
cp -R "$out/tree" "$out/$name"
install -m 755 deploy/dist/install.sh "$out/$name/"
tar -C "$out" --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" -cf - "$name" | gzip -9n >"$out/$name.tar.gz"
rm -rf "${out:?}/$name"
(cd "$out" && sha256sum "$name.tar.gz" "remuda_${version}_amd64.deb" >SHA256SUMS && cat SHA256SUMS)
