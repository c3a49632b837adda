#!/bin/sh
# deb.sh TREE VERSION FILE: makes the .deb of a staged tree. It depends on nothing but what creates its user.
set -eu
tree=$1 version=$2 file=$3
here=$(cd "$(dirname "$0")" && pwd)
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
chmod 755 "$root"
mkdir "$root/usr"
cp -R "$tree"/. "$root/usr/"
rm -r "$root/usr/share/remuda"
if [ -d "$root/usr/share/zsh" ]; then mv "$root/usr/share/zsh/site-functions" "$root/usr/share/zsh/vendor-completions"; fi
install -D -m 644 "$here/../systemd/remuda-worker.service" "$root/usr/lib/systemd/system/remuda-worker.service"
# it may hold the farm's password
install -D -m 640 "$here/../systemd/remuda-worker.default" "$root/etc/default/remuda-worker"
cat >"$root/usr/share/doc/remuda/copyright" <<EOT
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/

Files: *
Copyright: the authors of Remuda
License: MIT or Apache-2.0

Files: usr/lib/remuda/redis-server
Copyright: see LICENSE.redis beside this file
License: BSD-3-clause, with parts under other licences named there

Comment: The programs contain the crates that LICENSE.crates.gz names, each under its own licence.
EOT

mkdir "$root/DEBIAN"
cp "$here"/deb/postinst "$here"/deb/prerm "$here"/deb/postrm "$root/DEBIAN/"
chmod 755 "$root"/DEBIAN/*
echo /etc/default/remuda-worker >"$root/DEBIAN/conffiles"
cat >"$root/DEBIAN/control" <<EOT
Package: remuda
Version: $version
Architecture: amd64
Maintainer: Remuda <packages@remuda.invalid>
Section: devel
Priority: optional
Depends: passwd
Installed-Size: $(du -sk --exclude=DEBIAN "$root" | cut -f1)
Description: runs any test suite over a herd of machines that share a Redis
 remuda puts tests, one by one, into a Redis with expiring leases; worker daemons
 claim them, run them in warm runners and stream results back. Without a Redis it
 starts its own, which this package holds, and a worker on every core.
 .
 remuda-worker.service is installed and not enabled: name the farm's Redis in
 /etc/default/remuda-worker first.
EOT
(cd "$root" && find usr -type f -exec md5sum {} + >DEBIAN/md5sums)
dpkg-deb --root-owner-group -Zxz --build "$root" "$file" >/dev/null
