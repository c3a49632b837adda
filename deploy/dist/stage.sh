#!/bin/sh
# stage.sh PROGRAMS REDIS TREE: lays out what every package holds: bin, lib/remuda, share. PROGRAMS and REDIS are the
# folders of the other two scripts. Completions and manual pages are the program's own, once it has those verbs.
set -eu
programs=$1 redis=$2 tree=$3
here=$(cd "$(dirname "$0")" && pwd)
rm -rf "$tree"
doc=$tree/share/doc/remuda
install -d "$tree/bin" "$tree/lib/remuda" "$tree/share/remuda" "$doc"
install -m 755 "$programs/remuda" "$programs/remuda-worker" "$tree/bin/"
install -m 755 "$redis/redis-server" "$tree/lib/remuda/"
install -m 644 "$here/../systemd/remuda-worker.service" "$here/../systemd/remuda-worker.default" "$tree/share/remuda/"
install -m 644 "$here/../../README.md" "$here/../../CHANGELOG.md" "$redis/LICENSE.redis" "$doc/"
(cd "$here/../.." && python3 deploy/dist/licences.py) | gzip -9n >"$doc/LICENSE.crates.gz"

has() { "$tree/bin/remuda" --help | grep -Eq "^ +$1( |\$)"; }
if has completions; then
  install -d "$tree/share/bash-completion/completions" "$tree/share/zsh/site-functions" "$tree/share/fish/vendor_completions.d"
  "$tree/bin/remuda" completions bash >"$tree/share/bash-completion/completions/remuda"
  "$tree/bin/remuda" completions zsh >"$tree/share/zsh/site-functions/_remuda"
  "$tree/bin/remuda" completions fish >"$tree/share/fish/vendor_completions.d/remuda.fish"
fi
if has man; then
  install -d "$tree/share/man/man1"
  "$tree/bin/remuda" man "$tree/share/man/man1"
  gzip -9nf "$tree"/share/man/man1/*.1
fi
