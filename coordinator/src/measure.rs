//! Measures the lookups of a request in small and large tables. Run it in an optimised build on an
//! idle machine: `cargo test --release -p app-proxy-coordinator --lib measure::lookups -- --ignored
//! --nocapture`.

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

/// Lookups per round, and rounds, of which the fastest counts.
const LOOKUPS: usize = 100_000;
const ROUNDS: usize = 7;

/// Prints the time of one call of `work`.
fn report(label: &str, times: usize, mut work: impl FnMut(usize)) {
    let round = |work: &mut dyn FnMut(usize)| {
        let start = Instant::now();
        // A stride that visits all entries in a cache-unfriendly order.
        (0..times).for_each(|number| work(number.wrapping_mul(7_919)));
        start.elapsed().as_secs_f64() * 1e9 / times as f64
    };
    let fastest = (0..ROUNDS)
        .map(|_| round(&mut work))
        .min_by(f64::total_cmp)
        .unwrap();
    println!("{label:<70} {fastest:>9.0} ns");
}

fn apps(count: usize) {
    let app = |number| {
        let name = format!("app-{number}");
        json!({"name": name, "endpoints": [{"address": "127.0.0.1:9"}]})
    };
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
    report(
        &format!("the same app of {count}, by path"),
        LOOKUPS,
        |_| find(&paths[0]),
    );
    report(&format!("each app of {count}, by path"), LOOKUPS, |n| {
        find(&paths[n % count]);
    });
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
    report(&format!("the same session of {count}"), LOOKUPS, |_| {
        find(0);
    });
    report(&format!("each session of {count}"), LOOKUPS, |n| {
        find(n % count);
    });
    report(&format!("iteration over {count} sessions"), 3, |_| {
        black_box(table.live().count());
    });
    report(&format!("a page of 100 of {count} sessions"), 3, |_| {
        black_box(table.page(None, 100, |_| true));
    });
}

/// Starts a server that answers health checks. Returns its port.
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
    let start = Instant::now();
    for number in 0..count {
        let address = if number == 0 {
            format!("127.0.0.1:{port}")
        } else {
            format!("127.202.{}.{}:9", number / 256, number % 256)
        };
        let registration = json!({"address": address, "labels": {"number": number.to_string()}});
        pool.register(
            &format!("w{number}"),
            serde_json::from_value(registration).unwrap(),
        )
        .await
        .unwrap();
    }
    println!(
        "{count} workers register in sequence: {:.0} ms",
        start.elapsed().as_secs_f64() * 1e3
    );
    let one = Labels::from([("number".to_owned(), "0".to_owned())]);
    pool.set_selectors([one.clone()]).await.unwrap();
    let other = Labels::from([("number".to_owned(), "1".to_owned())]);
    let all = Labels::new();
    let keys: Vec<[u8; 16]> = (0..1000_u128)
        .map(|n| (n * 0x9e37_79b9_7f4a_7c15).to_be_bytes())
        .collect();
    let key = |number: usize| &keys[number % keys.len()][..];
    report(
        &format!("a worker of {count}, by identifier"),
        LOOKUPS,
        |_| drop(black_box(pool.by_id("w0").unwrap())),
    );
    report(&format!("a worker of {count}, all healthy"), LOOKUPS, |n| {
        drop(black_box(pool.select(&all, key(n), None, &[]).unwrap()));
    });
    report(
        &format!("a worker of {count}, with labels of one"),
        LOOKUPS,
        |n| {
            drop(black_box(pool.select(&one, key(n), None, &[]).unwrap()));
        },
    );
    report(
        &format!("a worker of {count}, with labels of one, without a ring"),
        1000,
        |n| {
            drop(black_box(pool.select(&other, key(n), None, &[]).unwrap()));
        },
    );
    let pinned = pool.by_id("w0").unwrap();
    report(&format!("the pinned worker of {count}"), LOOKUPS, |n| {
        drop(black_box(
            pool.select(&all, key(n), Some(&pinned), &[]).unwrap(),
        ));
    });
    drop(health);
    for _ in 0..check.unhealthy_after {
        pool.check_health().await;
    }
    report(
        &format!("a worker of {count}, all but one unhealthy"),
        1000,
        |n| {
            drop(black_box(pool.select(&all, key(n), None, &[]).unwrap()));
        },
    );
    let failed = [pool.by_id("w0").unwrap()];
    report(
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
