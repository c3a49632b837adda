//! A farm whose Redis speaks TLS, with a certificate of an authority that nobody but this test knows.

use std::path::Path;
use std::process::Command;

use super::support::{Farm, Ranch};

fn openssl(at: &Path, words: &str) {
    let out = Command::new("openssl").args(words.split(' ')).current_dir(at).output().unwrap();
    assert!(out.status.success(), "openssl {words}: {}", String::from_utf8_lossy(&out.stderr));
}

/// An authority and a server's certificate that it has signed.
fn certify(at: &Path) {
    const KEY: &str = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2";
    openssl(at, &format!("req -x509 {KEY} -subj /CN=authority -keyout ca.key -out ca.pem"));
    let server = "-subj /CN=redis -addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE";
    openssl(at, &format!("req -x509 -CA ca.pem -CAkey ca.key {KEY} {server} -keyout server.key -out server.pem"));
}

#[test]
fn a_farm_behind_tls_works_where_its_authority_is_trusted_and_says_what_is_missing_elsewhere() {
    let mut ranch = Ranch::new();
    let keys = tempfile::tempdir().unwrap();
    certify(keys.path());
    let farm = Farm::with_tls(keys.path());
    ranch.run(&["--redis", &farm.url(), "each", "true", ":::", "a"]).exits(3).says(&[
        "rediss://127.0.0.1",
        "UnknownIssuer",
        "SSL_CERT_FILE",
    ]);
    ranch.authority = Some(keys.path().join("ca.pem"));
    let farm = farm.with_worker(&ranch, &["--slots", "1"]);
    let seen = ranch.run(&["--redis", &farm.url(), "each", "echo got {}", ":::", "a", "b"]).exits(0);
    assert_eq!(seen.out.lines().collect::<std::collections::BTreeSet<_>>(), ["got a", "got b"].into());
}
