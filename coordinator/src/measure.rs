//! What is looked up for a request, with few and with many of it. Run it in an optimised build, on
//! a machine that does nothing else: `cargo test --release -p app-proxy-coordinator --lib
//! measure::lookups -- --ignored --nocapture`.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use app_proxy_api::apps::{App, Labels};
use app_proxy_hop::config::TimeoutsSection;
use app_proxy_hop::identity::RequestId;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::apps::Apps;
use crate::config::{HealthCheckSection, RegistrationSection};
use crate::pool::Pool;
use crate::router::Lookup;
use crate::sessions::cookie::SessionKey;
use crate::sessions::{SessionRecord, SessionTable};

/// How often something is looked up in a round, and how many rounds there are, of which the fastest
/// counts.
const TIMES: usize = 100_000;
const ROUNDS: usize = 7;

/// Prints how long one of `work` takes.
fn say(what: &str, times: usize, mut work: impl FnMut(usize)) {
    let round = |work: &mut dyn FnMut(usize)| {
        let begun = Instant::now();
        // A stride that meets all of it, in no order that memory likes.
        (0..times).for_each(|number| work(number.wrapping_mul(7_919)));
        begun.elapsed().as_secs_f64() * 1e9 / times as f64
    };
    let fastest = (0..ROUNDS)
        .map(|_| round(&mut work))
        .min_by(f64::total_cmp)
        .unwrap();
    println!("{what:<70} {fastest:>9.0} ns");
}

fn apps(count: usize) {
    let app = |number| json!({"name": format!("app-{number}"), "endpoints": [{"address": "127.0.0.1:9"}]});
    let all: Vec<App> = (0..count)
        .map(|number| serde_json::from_value(app(number)).unwrap())
        .collect();
    let apps = Apps::from_file(all, None).unwrap();
    let paths: Vec<String> = (0..count)
        .map(|number| format!("/apps/app-{number}/api/contents"))
        .collect();
    let find = |path: &str| match apps.load().router.lookup("apps.example.com", path) {
        Lookup::Found(found) => drop(black_box(Arc::clone(found.value))),
        other => panic!("{other:?}"),
    };
    say(
        &format!("the app of a path, of {count} apps, always the same"),
        TIMES,
        |_| find(&paths[0]),
    );
    say(
        &format!("the app of a path, of {count} apps, each in its turn"),
        TIMES,
        |n| find(&paths[n % count]),
    );
}

fn sessions(count: usize) {
    let key = SessionKey::new(&[1; 32]).unwrap();
    let table = SessionTable::new(count as u64 * 2, Duration::from_secs(3600));
    let app: Arc<str> = "a".into();
    let ids: Vec<_> = (0..count)
        .map(|_| {
            let record = Arc::new(SessionRecord::new(
                key.issue("a"),
                &app,
                None,
                &RequestId::generate(),
            ));
            table.insert(record.id(), Arc::clone(&record));
            *record.id()
        })
        .collect();
    let find = |number: usize| drop(black_box(table.find(&ids[number]).unwrap()));
    say(
        &format!("a session, of {count}, always the same"),
        TIMES,
        |_| find(0),
    );
    say(
        &format!("a session, of {count}, each in its turn"),
        TIMES,
        |n| find(n % count),
    );
    say(&format!("going through all {count} sessions"), 3, |_| {
        black_box(table.live().count());
    });
    say(&format!("a page of 100 of {count} sessions"), 3, |_| {
        black_box(table.page(None, 100, |_| true));
    });
}

/// A worker that answers its health checks.
async fn healthy_worker() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 1024]).await;
            let _ = stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                .await;
        }
    });
    port
}

async fn workers(count: usize) {
    let (check, registration) = (
        HealthCheckSection::default(),
        RegistrationSection::default(),
    );
    let (pool, health) = Pool::new(&[], check, registration, &TimeoutsSection::default())
        .await
        .unwrap();
    let port = healthy_worker().await;
    let begun = Instant::now();
    for number in 0..count {
        let address = if number == 0 {
            format!("127.0.0.1:{port}")
        } else {
            format!("127.202.{}.{}:9", number / 256, number % 256)
        };
        let said = json!({"address": address, "labels": {"number": number.to_string()}});
        pool.register(&format!("w{number}"), serde_json::from_value(said).unwrap())
            .await
            .unwrap();
    }
    println!(
        "{count} workers join one after the other: {:.0} ms",
        begun.elapsed().as_secs_f64() * 1e3
    );
    let one = Labels::from([("number".to_owned(), "0".to_owned())]);
    pool.want_selectors([one.clone()]).await.unwrap();
    let other = Labels::from([("number".to_owned(), "1".to_owned())]);
    let all = Labels::new();
    let keys: Vec<[u8; 16]> = (0..1000_u128)
        .map(|n| (n * 0x9e37_79b9_7f4a_7c15).to_be_bytes())
        .collect();
    let key = |number: usize| &keys[number % keys.len()][..];
    say(
        &format!("a worker by its identifier, of {count}"),
        TIMES,
        |_| drop(black_box(pool.by_id("w0").unwrap())),
    );
    say(&format!("a worker of {count}, all healthy"), TIMES, |n| {
        drop(black_box(pool.select(&all, key(n), None, &[]).unwrap()));
    });
    say(
        &format!("a worker of {count}, with labels that one has"),
        TIMES,
        |n| {
            drop(black_box(pool.select(&one, key(n), None, &[]).unwrap()));
        },
    );
    say(
        &format!("a worker of {count}, with labels that one has, without a ring for them"),
        1000,
        |n| {
            drop(black_box(pool.select(&other, key(n), None, &[]).unwrap()));
        },
    );
    let pinned = pool.by_id("w0").unwrap();
    say(&format!("the pinned one of {count} workers"), TIMES, |n| {
        drop(black_box(
            pool.select(&all, key(n), Some(&pinned), &[]).unwrap(),
        ));
    });
    drop(health);
    for _ in 0..check.unhealthy_after {
        pool.check_health().await;
    }
    say(
        &format!("a worker of {count}, all but one unhealthy"),
        1000,
        |n| {
            drop(black_box(pool.select(&all, key(n), None, &[]).unwrap()));
        },
    );
    let failed = [pool.by_id("w0").unwrap()];
    say(
        &format!("no worker of {count}: none is healthy"),
        100,
        |n| {
            assert!(black_box(pool.select(&all, key(n), None, &failed)).is_none());
        },
    );
}

#[tokio::test]
#[ignore = "a measurement"]
async fn lookups() {
    for count in [10, 10_000] {
        apps(count);
    }
    for count in [10, 100_000] {
        sessions(count);
    }
    for count in [10, 200] {
        workers(count).await;
    }
}
