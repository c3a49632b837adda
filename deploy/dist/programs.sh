#!/bin/sh
# programs.sh: builds both programs as static files for any Linux on x86-64, and says where they are.
# They carry no path of the machine that built them.
set -eu
cd "$(dirname "$0")/../.."
target=x86_64-unknown-linux-musl
if ! rustc --print target-libdir --target $target 2>/dev/null | xargs -r test -d; then
  command -v rustup >/dev/null || { echo "dist: the Rust target $target is missing and there is no rustup to add it" >&2; exit 1; }
  rustup target add $target >&2
fi
home=${CARGO_HOME:-$HOME/.cargo}
CARGO_TARGET_X86_64_UNKNOWN_LINUX_MUSL_RUSTFLAGS="--remap-path-prefix=$PWD=. --remap-path-prefix=$home=cargo"
CC_x86_64_unknown_linux_musl=musl-gcc # ring has a little C
CFLAGS_x86_64_unknown_linux_musl="-ffile-prefix-map=$home=cargo"
export CARGO_TARGET_X86_64_UNKNOWN_LINUX_MUSL_RUSTFLAGS CC_x86_64_unknown_linux_musl CFLAGS_x86_64_unknown_linux_musl
"${CARGO:-cargo}" build --profile dist --target $target --bins --locked >&2
echo "target/$target/dist"
