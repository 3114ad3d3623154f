//! A chain that serves.

use std::fs::File;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::time::{sleep, timeout};

use super::visitors::{self, Visits};
use super::{Chain, Started, features};
use crate::client::{Connection, Expected, Failure, Request, Visitor};
use crate::process::Process;
use crate::procfs::{Pid, with_descendants};

/// The maximum time until a chain serves.
const PATIENCE: Duration = Duration::from_secs(30);

/// The properties of a chain that workloads need.
#[derive(Debug)]
pub struct Target {
    /// Its name in the report.
    pub name: String,
    /// The address to which clients connect.
    pub entry: SocketAddr,
    /// All its processes.
    pub pids: Vec<Pid>,
    /// The visitors. Never empty.
    pub visitors: Vec<Visitor>,
    /// True if every response must have a request ID.
    pub request_id: bool,
}

impl Target {
    /// The visitor of the connection with this number.
    #[must_use]
    pub fn visitor(&self, index: usize) -> &Visitor {
        const NOBODY: &Visitor = &Visitor {
            base: String::new(),
            cookie: String::new(),
        };
        self.visitors
            .get(index % self.visitors.len().max(1))
            .unwrap_or(NOBODY)
    }
}

/// A chain that serves until it is dropped.
#[derive(Debug)]
pub struct Running {
    /// Returns the properties that workloads need.
    pub target: Target,
    processes: Vec<Process>,
    logs: Vec<PathBuf>,
}

impl Running {
    /// Waits until a started chain serves, gets the session cookies, and checks that it has the
    /// features.
    ///
    /// # Errors
    /// Returns the process at fault, and the end of its output.
    pub async fn ready(
        started: Started,
        chain: &dyn Chain,
        name: &str,
        visits: Visits,
    ) -> Result<Self> {
        let Started {
            entry,
            mut processes,
            logs,
        } = started;
        match Self::target(&mut processes, &logs, entry, chain, name, visits).await {
            Ok(target) => Ok(Self {
                target,
                processes,
                logs,
            }),
            Err(fault) => {
                let said: Vec<String> = processes.iter().map(Process::last_words).collect();
                Err(fault.context(format!(
                    "the chain {name} does not serve\n{}",
                    said.join("\n")
                )))
            }
        }
    }

    async fn target(
        processes: &mut [Process],
        logs: &[PathBuf],
        entry: SocketAddr,
        chain: &dyn Chain,
        name: &str,
        visits: Visits,
    ) -> Result<Target> {
        answers(processes, entry).await?;
        let visitors = visitors::collect(entry, visits, chain.sessions()).await?;
        if chain.request_id() {
            let visitor = visitors.first().context("there are no visitors")?;
            features::check(entry, visitor, logs).await?;
        }
        let roots: Vec<Pid> = processes.iter().map(Process::pid).collect();
        let pids = with_descendants(&roots);
        Ok(Target {
            name: name.to_owned(),
            entry,
            pids,
            visitors,
            request_id: chain.request_id(),
        })
    }

    /// Fails when one of its processes has ended.
    ///
    /// # Errors
    /// The process, and the end of its output.
    pub fn check(&mut self) -> Result<()> {
        self.processes.iter_mut().try_for_each(Process::check)
    }

    /// Empties the access logs, so that they do not fill the disk. The daemons go on at the new
    /// end.
    pub fn empty_logs(&self) {
        for log in &self.logs {
            // A log that stays long costs room and nothing else.
            let _ = File::options().write(true).truncate(true).open(log);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // All at once; each is waited for when it is dropped.
        self.processes.iter_mut().for_each(Process::ask_to_end);
    }
}

/// Waits until the application answers through the chain.
async fn answers(processes: &mut [Process], entry: SocketAddr) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        processes.iter_mut().try_for_each(Process::check)?;
        let failure = match timeout(Duration::from_secs(2), ask(entry)).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(failure)) => failure,
            Err(_) => Failure::Late,
        };
        if Instant::now() > deadline {
            bail!("it does not answer at {entry}: {failure}");
        }
        sleep(Duration::from_millis(30)).await;
    }
}

async fn ask(entry: SocketAddr) -> Result<(), Failure> {
    let visitor = Visitor {
        base: format!("/apps/{}", visitors::app_name(0)),
        cookie: String::new(),
    };
    let mut connection = Connection::open(entry).await?;
    let expected = Expected {
        length: 1 << 10,
        request_id: false,
    };
    connection
        .exchange(&Request::get(&visitor, "/1k").into_bytes(), expected)
        .await
}

/// Waits until a process has started.
pub(super) fn wait_until(
    processes: &mut [Process],
    what: &str,
    done: impl Fn() -> bool,
) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        processes.iter_mut().try_for_each(Process::check)?;
        if Instant::now() > deadline {
            let said: Vec<String> = processes
                .iter()
                .map(|process| process.last_words())
                .collect();
            bail!("waited in vain for {what}\n{}", said.join("\n"));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}
