#!/bin/sh
# redis.sh FOLDER: builds the Redis server that packages carry, static, from a pinned source, into FOLDER.
#
# The source is the distribution's: its 7.0.15 (the last lines of Redis under the BSD licence), pinned by the hash below,
# with the security fixes of the day, which apt has verified. The C library's own malloc: musl's halves the speed.
set -eu
version=7.0.15
sha256=4b1dc4ee6d622a09fff9c6777191209750fb5e5a725ef78ea012d6eef4c22982
out=$1
mkdir -p "$out"
out=$(cd "$out" && pwd)
if [ -x "$out/redis-server" ]; then exit 0; fi

work=$out/source
apt=$work/apt
rm -rf "$work"
mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial"
# the machine's own mirrors of the distribution, asked for sources; its own lists stay as they are
for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
  [ -f "$file" ] && grep -hE '^deb +(\[[^]]*\] +)?[^ ]*/(debian|ubuntu)' "$file" | sed 's/^deb /deb-src /'
done >"$apt/src.list" || true
for file in /etc/apt/sources.list.d/*.sources; do
  [ -f "$file" ] && awk -v RS= '/\nURIs:[^\n]*\/(debian|ubuntu)/ { gsub(/Types:[^\n]*/, "Types: deb-src"); print $0 "\n" }' "$file"
done >"$apt/src.sources" || true
mkdir "$apt/parts"
mv "$apt/src.list" "$apt/src.sources" "$apt/parts/"
set -- -o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts="$apt/parts" -o Dir::State::lists="$apt/lists" \
  -o Dir::Cache="$apt/cache" -o APT::Sandbox::User=root
apt-get "$@" -qq update
(cd "$work" && apt-get "$@" -qq source --download-only redis >/dev/null)

tarball=$work/redis_$version.orig.tar.gz
if [ ! -f "$tarball" ]; then
  echo "dist: this distribution has another Redis than $version: $(cd "$work" && ls redis_*); build on Debian 12 or Ubuntu 24.04" >&2
  exit 1
fi
echo "$sha256  $tarball" | sha256sum --check --quiet
dpkg-source --no-check -x "$work"/redis_$version-*.dsc "$work/tree" >/dev/null
echo "dist: building $(basename "$work"/redis_$version-*.dsc .dsc)"
make -C "$work/tree/src" redis-server MALLOC=libc BUILD_TLS=no USE_SYSTEMD=no OPTIMIZATION=-O2 \
  CFLAGS="-fPIE -static-pie -ffile-prefix-map=$work/tree=redis" LDFLAGS=-static-pie -j"$(nproc)" >"$work/build.log" 2>&1 ||
  { tail -n 20 "$work/build.log" >&2; exit 1; }

{
  echo "Redis $(basename "$work"/redis_$version-*.dsc .dsc | cut -d_ -f2), unmodified except for the distribution's own patches."
  echo "Built by deploy/dist/redis.sh, which can be used to build and link it again, also with another C library:"
  echo "the GNU C library is linked into it (LGPL 2.1 or later; source: package glibc of the same distribution)."
  for file in COPYING deps/lua/COPYRIGHT deps/hiredis/COPYING deps/hdr_histogram/LICENSE.txt deps/hdr_histogram/COPYING.txt; do
    if [ -f "$work/tree/$file" ]; then printf '\n---- %s\n\n' "$file" && cat "$work/tree/$file"; fi
  done
  printf '\n---- deps/linenoise (from linenoise.h)\n\n' && sed -n '/Copyright/,/\*\//p' "$work/tree/deps/linenoise/linenoise.h"
} >"$out/LICENSE.redis"
strip -o "$out/redis-server" "$work/tree/src/redis-server"
rm -rf "$work"
