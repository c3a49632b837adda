//! What happens to the link: each test breaks a real server, or its connection, and nothing may be lost.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use remuda_protocol::event::Sequence;
use remuda_protocol::outcome::Outcome;
use remuda_store::{Added, Bell, ConnectOptions, Entry, Message, NextCall, Store, StoreError, TaskResult, Verdict};
use support::{PrivateRedis, drain_all, fill, group, job, join, next, result, want};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const AOF: &[&str] = &["--appendonly", "yes", "--appendfsync", "everysec"];

async fn one_job(store: &Store, tasks: u32) {
    store.open(&job("j1", vec![group("a", &[])]), "me", 0).await.unwrap();
    fill(store, "j1", 0, 0, tasks).await;
    store.seal_job("j1").await.unwrap();
    join(store, "w1", 1, "").await;
}

async fn passed(store: &Store) -> (String, u32) {
    let snapshot = store.snapshot("j1").await.unwrap();
    (snapshot.state, snapshot.groups[0].ended[0])
}

async fn command(redis: &PrivateRedis, words: &[&str]) -> redis::Value {
    let mut cmd = redis::cmd(words[0]);
    cmd.arg(&words[1..]);
    cmd.query_async(&mut redis.raw().await).await.unwrap()
}

async fn info(redis: &PrivateRedis, field: &str) -> String {
    let info: String = redis::cmd("INFO").arg("everything").query_async(&mut redis.raw().await).await.unwrap();
    info.lines().find_map(|l| l.strip_prefix(field)).unwrap_or_default().to_owned()
}

/// Kills and restarts a server that has written all it has said yes to. (On a busy disk `everysec` may answer before it
/// writes: that last second is what `two_restarts_in_a_row_lose_nothing` allows for.)
async fn restart(redis: &mut PrivateRedis) {
    while info(redis, "aof_buffer_length:").await != "0" {
        tokio::task::yield_now().await;
    }
    tokio::task::block_in_place(|| redis.kill_and_restart());
}

/// Calls `next` while `breaking` breaks something.
async fn next_while(
    store: &Store,
    results: Vec<TaskResult>,
    breaking: impl Future<Output = ()>,
) -> remuda_store::NextReply {
    let call = NextCall {
        worker: "w1".into(),
        nonce: uuid::Uuid::new_v4().to_string(),
        lease_ms: 30_000,
        results,
        wants: vec![want(0)],
        loaded: vec![],
    };
    let (reply, ()) = tokio::join!(store.next(&call), breaking);
    reply.unwrap()
}

/// Works the job off, with one breakage for each call; every task must be accepted exactly once.
async fn work_while(store: &Store, mut breaking: impl AsyncFnMut()) -> usize {
    let (mut results, mut accepted) = (Vec::new(), 0);
    loop {
        let sent: Vec<TaskResult> = std::mem::take(&mut results);
        let reply = next_while(store, sent, breaking()).await;
        // a result that was taken by a call whose answer was lost is a duplicate when that call is made again
        accepted += reply.verdicts.iter().filter(|v| matches!(v, Verdict::Ok | Verdict::Duplicate)).count();
        assert!(!reply.verdicts.contains(&Verdict::Stale));
        if reply.claims.is_empty() {
            return accepted;
        }
        for claim in &reply.claims {
            results.extend(
                (0..claim.ids.len()).map(|i| result(claim, claim.first + u32::try_from(i).unwrap(), Outcome::Passed)),
            );
        }
    }
}

#[tokio::test]
async fn killed_connections_lose_nothing() {
    let redis = PrivateRedis::start(&[]);
    let store = redis.store().await;
    one_job(&store, 60).await;
    let accepted = work_while(&store, async || {
        drop(command(&redis, &["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await)
    })
    .await;
    assert_eq!(accepted, 60);
    assert_eq!(passed(&store).await, ("passed".to_owned(), 60));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_restarts_in_a_row_lose_nothing() {
    let mut redis = PrivateRedis::start(AOF);
    let store = redis.store().await;
    one_job(&store, 40).await;
    let mut last = store.snapshot("j1").await.unwrap().sequence;
    let mut results = Vec::new();
    for round in 0..2 {
        let reply = next_while(&store, std::mem::take(&mut results), async {
            tokio::task::block_in_place(|| redis.kill_and_restart())
        })
        .await;
        for claim in &reply.claims {
            results.extend(
                (0..claim.ids.len()).map(|i| result(claim, claim.first + u32::try_from(i).unwrap(), Outcome::Passed)),
            );
        }
        assert!(!results.is_empty(), "round {round}");
        // a claim of the second that the file may lack is stale, and its tasks are handed out again
        next(&store, "w1", std::mem::take(&mut results), vec![]).await;
        let now = store.snapshot("j1").await.unwrap().sequence;
        assert!(now.epoch > last.epoch, "the epoch rises with every restart: {last}, {now}");
        last = now;
    }
    assert!(store.server_runs() >= 3);
    drain_all(&store, "w1").await;
    assert_eq!(passed(&store).await, ("passed".to_owned(), 40));
}

#[tokio::test]
async fn forgotten_scripts_are_loaded_again() {
    let redis = PrivateRedis::start(&[]);
    let store = redis.store().await;
    one_job(&store, 20).await;
    let accepted = work_while(&store, async || drop(command(&redis, &["SCRIPT", "FLUSH"]).await)).await;
    assert_eq!(accepted, 20);
}

#[tokio::test]
async fn a_server_that_turns_replica_and_back_is_waited_for() {
    let redis = PrivateRedis::start(&[]);
    let store = redis.store().await;
    one_job(&store, 5).await;
    command(&redis, &["REPLICAOF", "127.0.0.1", "1"]).await;
    let heal = async {
        while info(&redis, "errorstat_READONLY").await.is_empty() {
            tokio::task::yield_now().await;
        }
        command(&redis, &["REPLICAOF", "NO", "ONE"]).await;
    };
    let reply = next_while(&store, vec![], heal).await;
    assert!(!reply.claims.is_empty());
    // a call that does not wait says that the server is away, not that something is broken
    command(&redis, &["REPLICAOF", "127.0.0.1", "1"]).await;
    let call = NextCall { worker: "w1".into(), nonce: "n".into(), lease_ms: 30_000, ..NextCall::default() };
    let error = store.patient(Duration::ZERO).next(&call).await.unwrap_err();
    assert!(error.is_outage(), "{error}");
}

#[tokio::test]
async fn a_stopped_server_is_waited_for() {
    let redis = PrivateRedis::start(&[]);
    let mut options = redis.options();
    options.response = Duration::from_secs(1);
    let store = Store::connect(options).await.unwrap();
    one_job(&store, 5).await;
    let signal = |name: &str| {
        assert!(std::process::Command::new("kill").args([name, &redis.pid().to_string()]).status().unwrap().success())
    };
    signal("-STOP");
    let wake = async {
        tokio::time::sleep(Duration::from_secs(3)).await; // the pause itself is what is tested
        signal("-CONT");
    };
    // calls that were sent before the pause are executed after it: the nonce makes them one
    let reply = next_while(&store, vec![], wake).await;
    assert_eq!(reply.claims.len(), 1);
    let workers: redis::Value = command(&redis, &["SCARD", "remuda:{test}:held:w1"]).await;
    assert_eq!(workers, redis::Value::Int(1));
    assert_eq!(work_while_from(&store, &reply).await, ("passed".to_owned(), 5));
}

async fn work_while_from(store: &Store, reply: &remuda_store::NextReply) -> (String, u32) {
    let claim = &reply.claims[0];
    let results =
        (0..claim.ids.len()).map(|i| result(claim, claim.first + u32::try_from(i).unwrap(), Outcome::Passed)).collect();
    next(store, "w1", results, vec![]).await;
    drain_all(store, "w1").await;
    passed(store).await
}

#[tokio::test]
async fn a_full_server_refuses_new_work_and_finishes_the_old() {
    let redis = PrivateRedis::start(&[]);
    let store = redis.store().await;
    one_job(&store, 5).await;
    store.open(&job("j2", vec![group("a", &[])]), "me", 0).await.unwrap();
    command(&redis, &["CONFIG", "SET", "maxmemory", "1mb"]).await;
    let ids = vec!["x".to_owned()];
    let run = [Entry { lane: 0, first: 0, count: 1, us: -1, cost: -1, whole: false, more: false }];
    let error = store.add("j2", 0, 0, 0, &ids, &run).await.unwrap_err();
    assert!(matches!(error, StoreError::Full { .. }), "{error}");
    let error = store.open(&job("j3", vec![group("a", &[])]), "me", 0).await.unwrap_err();
    assert!(matches!(error, StoreError::Full { .. }), "{error}");
    assert_eq!(store.snapshot("j2").await.unwrap().groups[0].added, 0);
    assert_eq!(drain_all(&store, "w1").await, 5);
    assert_eq!(passed(&store).await, ("passed".to_owned(), 5));
    store.reap(100).await.unwrap();
    store.gc(200, Some("j1")).await.unwrap();
    command(&redis, &["CONFIG", "SET", "maxmemory", "0"]).await;
    assert_eq!(store.add("j2", 0, 0, 0, &ids, &run).await.unwrap(), Added::New(1));
}

#[tokio::test]
async fn a_wrong_password_is_said_at_once() {
    let redis = PrivateRedis::start(&["--requirepass", "secret"]);
    for url in [redis.url(), format!("{}?pass=wrong", redis.url())] {
        let error = Store::connect(ConnectOptions::new(url, "test")).await.err().unwrap();
        assert!(matches!(error, StoreError::Auth { .. }), "{error}");
        assert!(!error.to_string().contains("pass=wrong"));
    }
    Store::connect(ConnectOptions::new(format!("{}?pass=secret", redis.url()), "test")).await.unwrap();
}

#[tokio::test]
async fn an_evicting_server_is_refused() {
    let redis = PrivateRedis::start(&["--maxmemory-policy", "allkeys-lru"]);
    let error = Store::connect(redis.options()).await.err().unwrap();
    assert!(matches!(&error, StoreError::Evicting { policy, .. } if policy == "allkeys-lru"), "{error}");
}

/// Answers every connection with `answer`, as often as it is spoken to.
async fn impostor(answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    let answer = Arc::new(answer);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move {
                let mut buffer = [0; 4096];
                while let Ok(n @ 1..) = stream.read(&mut buffer).await {
                    let reply = answer(&String::from_utf8_lossy(&buffer[..n]));
                    if reply.is_empty() || stream.write_all(&reply).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    url
}

#[tokio::test]
async fn something_else_at_the_address_is_told_apart() {
    let web = impostor(|_| b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()).await;
    let error = Store::connect(ConnectOptions::new(web, "test")).await.err().unwrap();
    assert!(matches!(error, StoreError::NotRedis { .. }), "{error}");
    let closes = impostor(|_| Vec::new()).await;
    let error = Store::connect(ConnectOptions::new(closes, "test")).await.err().unwrap();
    assert!(matches!(error, StoreError::NotRedis { .. } | StoreError::Unreachable { .. }), "{error}");
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let error = Store::connect(ConnectOptions::new(format!("redis://{nobody}"), "test")).await.err().unwrap();
    assert!(matches!(error, StoreError::Unreachable { .. }), "{error}");
}

#[tokio::test]
async fn an_old_server_is_refused() {
    let old = impostor(|said| {
        let mut reply = Vec::new();
        for word in said
            .split("\r\n")
            .filter(|w| matches!(w.to_ascii_uppercase().as_str(), "CLIENT" | "INFO" | "HELLO" | "SELECT"))
        {
            let text = "redis_version:6.2.7\r\nrun_id:x\r\nmaxmemory_policy:noeviction\r\n";
            let ok = "+OK\r\n".to_owned();
            reply.extend(
                if word.eq_ignore_ascii_case("INFO") { format!("${}\r\n{text}\r\n", text.len()) } else { ok }
                    .into_bytes(),
            );
        }
        reply
    })
    .await;
    let error = Store::connect(ConnectOptions::new(old, "test")).await.err().unwrap();
    assert!(matches!(&error, StoreError::TooOld { version, .. } if version == "6.2.7"), "{error}");
}

/// A proxy whose connections can fall silent: the sockets stay open and nothing passes.
struct Proxy {
    url: String,
    silent: Arc<AtomicBool>,
}

async fn proxy(to: u16) -> Proxy {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    let silent = Arc::new(AtomicBool::new(false));
    let dead = silent.clone();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            // what is connected while it is silent stays so; later connections work
            let server = TcpStream::connect(("127.0.0.1", to)).await.unwrap();
            let silent = dead.clone();
            let mine = Arc::new(AtomicBool::new(false));
            let ((mut cr, cw), (mut sr, sw)) = (client.into_split(), server.into_split());
            let (stuck, s2) = (mine.clone(), silent.clone());
            tokio::spawn(async move { pump(&mut cr, sw, stuck, s2).await });
            tokio::spawn(async move { pump(&mut sr, cw, mine, silent).await });
        }
    });
    Proxy { url, silent }
}

async fn pump(
    from: &mut (impl AsyncReadExt + Unpin),
    mut to: impl AsyncWriteExt + Unpin,
    mine: Arc<AtomicBool>,
    silent: Arc<AtomicBool>,
) {
    let mut buffer = vec![0; 65536];
    while let Ok(n @ 1..) = from.read(&mut buffer).await {
        if silent.swap(false, Ordering::SeqCst) {
            mine.store(true, Ordering::SeqCst); // this connection is half open from now on
        }
        if !mine.load(Ordering::SeqCst) && to.write_all(&buffer[..n]).await.is_err() {
            return;
        }
    }
}

#[tokio::test]
async fn a_half_open_connection_is_left_behind() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let redis = PrivateRedis::start(&["--port", &port.to_string(), "--bind", "127.0.0.1"]);
    let proxy = proxy(port).await;
    let mut options = ConnectOptions::new(proxy.url.clone(), "test");
    options.response = Duration::from_millis(300);
    let store = Store::connect(options).await.unwrap();
    one_job(&store, 20).await;
    let accepted = work_while(&store, async || proxy.silent.store(true, Ordering::SeqCst)).await;
    assert_eq!(accepted, 20);
    assert_eq!(passed(&redis.store().await).await, ("passed".to_owned(), 20));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bell_rings_also_after_a_restart() {
    let mut redis = PrivateRedis::start(AOF);
    let store = redis.store().await;
    store.open(&job("j1", vec![group("a", &[])]), "me", 0).await.unwrap();
    join(&store, "w1", 1, "").await;
    let mut bell = Bell::new(&store, "");
    assert!(!bell.wait(Duration::from_millis(20)).await, "nothing to ring for");
    let run = |first| [Entry { lane: 0, first, count: 1, us: -1, cost: -1, whole: false, more: false }];
    let ring = async { store.add("j1", 0, 0, 0, &["x".to_owned()], &run(0)).await.unwrap() };
    let (rung, _) = tokio::join!(bell.wait(Duration::from_secs(10)), ring);
    assert!(rung);
    for first in 1..3 {
        restart(&mut redis).await;
        let ids = vec![first.to_string()];
        let ring =
            async { assert_eq!(store.add("j1", 0, 0, first, &ids, &run(first)).await.unwrap(), Added::New(first + 1)) };
        let wait = async {
            let mut tries = 0;
            while !bell.wait(Duration::from_secs(5)).await {
                tries += 1;
                assert!(tries < 3, "the bell stays silent");
            }
        };
        tokio::join!(wait, ring);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_lost_its_subscription_repairs_the_gap() {
    let mut redis = PrivateRedis::start(AOF);
    let store = redis.store().await;
    one_job(&store, 6).await;
    let mut events = store.watch("j1", false).await.unwrap();
    let reply = next(&store, "w1", vec![], vec![want(0)]).await;
    let Some(Message::Events(seen, batch)) = events.next().await else { panic!("no event") };
    assert!(batch.starts_with("> 0 "));
    restart(&mut redis).await;
    assert_eq!(events.next().await, None, "a broken subscription ends");
    let done = result(&reply.claims[0], 0, Outcome::Passed);
    assert_eq!(next(&store, "w1", vec![done], vec![]).await.verdicts, [Verdict::Ok]);
    let missed = store.events_after("j1", seen).await.unwrap();
    assert_eq!(missed.len(), 1);
    assert!(missed[0].0.epoch > seen.epoch && missed[0].0.n == seen.n + 1, "{seen} {missed:?}");
    assert!(missed[0].1.starts_with("= 0 0 P"));
    let all = store.events_after("j1", Sequence::default()).await.unwrap();
    let numbers: Vec<u64> = all.iter().map(|(s, _)| s.n).collect();
    assert_eq!(numbers, (1..=missed[0].0.n).collect::<Vec<_>>());
    let mut again = store.watch("j1", false).await.unwrap();
    next(&store, "w1", vec![], vec![want(0)]).await;
    assert!(matches!(again.next().await, Some(Message::Events(s, _)) if s.follows(missed[0].0)));
}
