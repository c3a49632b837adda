#!/bin/sh
# Tries the packages of dist.sh on a bare Debian without Rust or Redis, in namespaces of their own: nothing of it stays but
# the root file system in target/dist/root. Needs root and a mirror.
set -eu
cd "$(dirname "$0")/.."
[ "$(id -u)" = 0 ] || { echo "dist-check: root is needed for namespaces" >&2; exit 1; }
out=$PWD/target/dist
archive=$(ls "$out"/remuda-*-x86_64-linux.tar.gz)
deb=$(ls "$out"/remuda_*_amd64.deb)
command -v debootstrap >/dev/null ||
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends debootstrap >/dev/null; }
if [ ! -e "$out/root/ready" ]; then
  echo "dist-check: making a bare Debian"
  rm -rf "$out/root"
  debootstrap --variant=minbase --include=python3 bookworm "$out/root" >"$out/root.log" 2>&1 ||
    { tail -n 20 "$out/root.log" >&2; exit 1; }
  touch "$out/root/ready"
fi

# bare SCRIPT: runs it as root in a fresh copy of that Debian, without a network
bare() {
  scratch=$(mktemp -d)
  mkdir "$scratch/upper" "$scratch/work" "$scratch/root"
  result=0
  OUT=$out SCRATCH=$scratch unshare --mount --pid --uts --ipc --net --fork --kill-child --propagation private sh -ec '
    mount -t overlay overlay -o "lowerdir=$OUT/root,upperdir=$SCRATCH/upper,workdir=$SCRATCH/work" "$SCRATCH/root"
    mount -t proc proc "$SCRATCH/root/proc"
    mount -t tmpfs tmpfs "$SCRATCH/root/tmp"
    mount --bind /dev "$SCRATCH/root/dev"
    mkdir "$SCRATCH/root/given"
    mount --bind "$1" "$SCRATCH/root/given"
    ip link set lo up 2>/dev/null || true
    exec chroot "$SCRATCH/root" /usr/bin/env -i PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin HOME=/root /bin/sh -eu -c "$2"
  ' - "$given" "$fails
$1" || result=$?
  rm -rf "$scratch"
  return "$result"
}

given=$(mktemp -d)
trap 'rm -rf "$given"' EXIT
cp "$archive" "$given/remuda.tar.gz"
cp "$deb" "$given/remuda.deb"
# pytest of the test environment: pure Python, for whatever Python there is
for name in pytest _pytest py.py pluggy iniconfig packaging pygments; do
  cp -R "$(ls -d target/venv/lib/python3*/site-packages/$name)" "$given/"
done
cp -R target/venv/lib/python3*/site-packages/pytest-[0-9]*.dist-info "$given/"
printf 'def test_one():\n    pass\n\n\ndef test_two():\n    pass\n' >"$given/test_bare.py"

fails='trap "test \$? = 0 || { echo failed, the last run said:; cat /tmp/said; } >&2" EXIT
fails() { if "$@"; then echo "this should have failed: $*" >&2; exit 1; fi; }'
each='printf "a\nb\n" >/tmp/expected
  for lack in cargo redis-server valkey-server; do fails command -v $lack; done
  remuda each "echo {}" ::: a b 2>/tmp/said | sort | cmp - /tmp/expected
  fails remuda each "test {} = a" ::: a b 2>/tmp/said; grep -q "1 passed, 1 failed" /tmp/said
  test -z "$(ls -d /tmp/remuda-* 2>/dev/null)"'
suite='cp /given/test_bare.py /tmp && cd /tmp
  PYTHONPATH=/given remuda run -- python3 -m pytest -q test_bare.py 2>/tmp/said; grep "2 tests: 2 passed" /tmp/said'
# as the unit starts it: its own user and folder, the farm's address from the environment
farm='/usr/lib/remuda/redis-server --port 7799 --save "" --maxmemory-policy noeviction >/dev/null &
  install -d -o remuda /var/lib/remuda; export REMUDA_REDIS_URL=redis://127.0.0.1:7799; cd /tmp
  until python3 -c "import socket; socket.create_connection((\"127.0.0.1\", 7799))" 2>/dev/null; do :; done
  setpriv --reuid remuda --regid remuda --clear-groups remuda-worker --slots 2 --state /var/lib/remuda/worker & worker=$!
  test "$(remuda each "id -un # {}" ::: a b 2>/tmp/said | sort -u)" = remuda
  kill $worker; wait $worker; unset REMUDA_REDIS_URL'
named='test -s /usr/share/doc/remuda/LICENSE.redis; zcat /usr/share/doc/remuda/LICENSE.crates.gz | grep -q "^  tokio "'

echo "dist-check: the archive, where it was unpacked"
bare "tar -xzf /given/remuda.tar.gz -C /opt; export PATH=/opt/\$(ls /opt)/bin:\$PATH; $each"
echo "dist-check: the archive, installed and taken away again"
bare "tar -xzf /given/remuda.tar.gz -C /opt; /opt/remuda-*/install.sh; $each
  $suite
  remuda-worker --version
  grep -q ExecStart=/usr/local/bin/ /usr/local/share/remuda/remuda-worker.service
  /opt/remuda-*/install.sh --uninstall; test -z \"\$(find /usr/local -type f)\""
echo "dist-check: the .deb, installed and purged"
bare "dpkg -i /given/remuda.deb >/dev/null; $each
  $suite
  $named
  id remuda >/dev/null; test \"\$(stat -c %a:%G /etc/default/remuda-worker)\" = 640:remuda
  $farm
  dpkg --purge remuda >/dev/null; test ! -e /usr/bin/remuda; test ! -e /etc/default/remuda-worker; fails id remuda 2>/dev/null"

if command -v systemd-analyze >/dev/null; then
  echo "dist-check: the unit"
  unit=$given/remuda-worker.service
  sed 's,^ExecStart=/usr/bin/remuda-worker,ExecStart=/bin/true,' deploy/systemd/remuda-worker.service >"$unit"
  if said=$(systemd-analyze verify --man=no "$unit" 2>&1) && ! echo "$said" | grep -q Unknown; then :; else
    echo "$said" >&2
    exit 1
  fi
fi
echo "dist-check: all good"
