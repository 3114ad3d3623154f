//! Many apps, sessions and workers at once: their costs at a coordinator in time and memory, and
//! the time until all workers have applied a change. docs/explanation/performance.md has the
//! figures.
//!
//! The coordinator has one core for itself. The client, the one worker that serves, the application
//! and the workers that are only played have the other.

mod api;
mod cluster;
mod followers;
mod steps;
mod table;

use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::time::sleep;

use crate::cli::ScaleArgs;
use crate::process;
use crate::procfs::{CpuReading, Pid, memory_kib};
use cluster::Cluster;
use table::Table;

/// The time without requests before a daemon's memory is read: delayed writes are done
/// by then.
const SETTLE: Duration = Duration::from_secs(3);
/// For how long the CPU of a daemon is watched that has nothing to do.
const IDLE: Duration = Duration::from_secs(5);

/// Measures, and prints the table.
///
/// # Errors
/// A daemon that does not start, exits, or fails.
pub async fn run(args: &ScaleArgs) -> Result<()> {
    process::raise_file_limit()?;
    process::stay_on(args.client_core)?;
    ensure!(
        args.client_core != args.coordinator_core,
        "the client and the coordinator need a core each"
    );
    let mut scale = Scale {
        cluster: Cluster::start(args).await?,
        table: Table::begin(),
        args: args.clone(),
    };
    let measured = scale.all().await;
    let said = scale.cluster.last_words();
    measured.map_err(|fault| fault.context(said))?;
    scale.table.print()
}

/// A measurement under way.
struct Scale {
    cluster: Cluster,
    table: Table,
    args: ScaleArgs,
}

/// Anonymous memory in bytes.
#[derive(Clone, Copy)]
struct Memory {
    coordinator: u64,
    worker: u64,
}

impl Scale {
    async fn all(&mut self) -> Result<()> {
        let empty = self.settled("empty").await?;
        let with_apps = self.apps(empty).await?;
        self.sessions(with_apps).await?;
        let followers = self.workers().await?;
        self.changes(&followers).await?;
        self.storm(&followers).await?;
        self.idle("idle with all of it").await?;
        self.calls().await?;
        drop(followers);
        self.first_sync_of_a_worker().await?;
        self.restart().await
    }

    /// The memory of both daemons once they have settled, which is written down.
    async fn settled(&mut self, when: &str) -> Result<Memory> {
        sleep(SETTLE).await;
        self.cluster.check()?;
        let memory = |pid: Pid| memory_kib(&[pid], "RssAnon") << 10;
        let memory = Memory {
            coordinator: memory(self.cluster.coordinator.pid()),
            worker: memory(self.cluster.worker.pid()),
        };
        self.table
            .bytes(&format!("coordinator's memory, {when}"), memory.coordinator);
        self.table
            .bytes(&format!("worker's memory, {when}"), memory.worker);
        Ok(memory)
    }

    /// The CPU that the coordinator needs when nothing happens, in % of a core.
    async fn idle(&mut self, when: &str) -> Result<()> {
        let cpu = self.cpu();
        sleep(IDLE).await;
        let spent = self.cpu().since(&cpu);
        self.cluster.check()?;
        let percent = spent.as_secs_f64() / IDLE.as_secs_f64() * 100.0;
        self.table.add(
            &format!("coordinator's CPU, {when}"),
            format!("{percent:.1} % of a core"),
        );
        Ok(())
    }

    fn cpu(&self) -> CpuReading {
        CpuReading::take(&[self.cluster.coordinator.pid()])
    }
}
