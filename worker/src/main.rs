//! `remuda-worker`.

fn main() {
    remuda_worker::warden::run_if_warden();
}
