#!/bin/sh
# install.sh [PREFIX]: copies this archive's files to PREFIX (/usr/local). install.sh --uninstall [PREFIX] takes them away.
set -eu
cd "$(dirname "$0")"
uninstall=
if [ "${1:-}" = --uninstall ]; then uninstall=1; shift; fi
case ${1:-/usr/local} in
  /*) prefix=${1:-/usr/local} ;;
  *) echo "install: PREFIX is \`$1\`; expected an absolute path, for example $HOME/.local" >&2; exit 2 ;;
esac

files() { find bin lib share -type f; }

if [ -n "$uninstall" ]; then
  files | while read -r file; do rm -f "$prefix/$file"; done
  rmdir "$prefix/lib/remuda" "$prefix/share/doc/remuda" "$prefix/share/remuda" 2>/dev/null || true
  echo "remuda is no longer in $prefix"
  exit 0
fi

files | while read -r file; do
  mkdir -p "$prefix/$(dirname "$file")"
  cp "$file" "$prefix/$file.new"
  mv -f "$prefix/$file.new" "$prefix/$file" # also while the old one runs
done
unit=share/remuda/remuda-worker.service
sed "s,=/usr/bin/,=$prefix/bin/," "$unit" >"$prefix/$unit"
echo "remuda is in $prefix/bin"
case :$PATH: in
  *:"$prefix/bin":*) ;;
  *) echo "add it to your PATH: export PATH=$prefix/bin:\$PATH" ;;
esac
echo "for a worker that starts with the machine see $prefix/share/remuda"
