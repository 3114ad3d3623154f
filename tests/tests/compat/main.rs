//! Two versions of the programs together: upgrades from an earlier commit to the working tree, each
//! tier in the earlier version beside the other in this one, and the way back. See docs/testing.md.
//!
//! `make compat` (scripts/compat.sh) builds the earlier programs and runs this.

// Tests report failures by panicking.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

mod traffic;
mod writers;

mod downgrade;
mod files;
mod mixed;
mod upgrade;

mod report;
mod versions;

use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use app_proxy_tests::daemon::Program;

use report::{Row, Tally, table};
use versions::Versions;

/// Runs one case as a task, so that a panic ends that case only.
async fn run<T, F>(rows: &mut Vec<Row>, case: &str, body: impl FnOnce(Arc<Tally>) -> F) -> Option<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    println!("---- {case}");
    let (tally, begin) = (Arc::new(Tally::default()), Instant::now());
    let outcome = tokio::spawn(body(Arc::clone(&tally))).await;
    let (result, outcome) = match outcome {
        Ok(result) => (Some(result), Ok(())),
        Err(fault) => (None, Err(reason(fault))),
    };
    rows.push(Row::new(case, &tally, begin, outcome));
    result
}

fn reason(fault: tokio::task::JoinError) -> String {
    let panic = fault.into_panic();
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string))
        .unwrap_or_else(|| "a panic".to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the programs of an earlier commit: make compat"]
async fn the_earlier_version_and_this_one_work_together() {
    let versions = Arc::new(Versions::from_environment());
    let mut rows = Vec::new();
    let both = Arc::clone(&versions);
    run(&mut rows, "configuration files", move |tally| async move {
        files::check(&both, &tally);
    })
    .await;
    for (case, old) in [
        ("old worker, new coordinator", Program::Worker),
        ("new worker, old coordinator", Program::Coordinator),
    ] {
        let both = Arc::clone(&versions);
        run(&mut rows, case, move |tally| async move {
            mixed::check(&both, old, &tally).await;
        })
        .await;
    }
    upgrades(&versions, &mut rows).await;
    println!("{}", table(&rows));
    assert!(
        rows.iter().all(Row::passed),
        "not compatible: see the table"
    );
}

/// The cases that one cluster goes through in turn.
async fn upgrades(versions: &Arc<Versions>, rows: &mut Vec<Row>) {
    let both = Arc::clone(versions);
    let upgraded = run(rows, "coordinator upgraded", move |tally| async move {
        upgrade::coordinator(&both, &tally).await
    })
    .await;
    let Some(scene) = upgraded else {
        return;
    };
    let both = Arc::clone(versions);
    let upgraded = run(rows, "workers upgraded", move |tally| async move {
        upgrade::workers(scene, &both, &tally).await
    })
    .await;
    let Some(scene) = upgraded else {
        return;
    };
    let both = Arc::clone(versions);
    run(rows, "coordinator downgraded", move |tally| async move {
        downgrade::check(scene, &both, &tally).await;
    })
    .await;
}
