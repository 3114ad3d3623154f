//! The plan of a run.

use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::chain::{self, AppProxy, Chain, Site};
use crate::cli::RunArgs;
use crate::validity::Limits;
use crate::workload::{self, Pace, Workload};

/// Chains that cannot run here, and why.
type Skipped = Vec<(String, String)>;

/// The measurements, how often they are repeated, and how long they may take.
pub struct Plan {
    /// The chains that run here.
    pub chains: Vec<Box<dyn Chain>>,
    /// Those that do not, and why.
    pub skipped: Skipped,
    /// The workloads.
    pub workloads: Vec<Box<dyn Workload>>,
    /// The amount of work of each batch.
    pub pace: Pace,
    /// The number of times that all processes are started.
    pub restarts: usize,
    /// The maximum number of attempts until a batch counts.
    pub attempts: usize,
    /// The limits within which a batch counts.
    pub limits: Limits,
    /// The core of the client and the application.
    pub client_core: usize,
    budget: Duration,
}

impl Plan {
    pub(super) fn new(args: &RunArgs, site: &Site) -> Result<Self> {
        let default = |given: Option<usize>, full, quick| {
            given.unwrap_or(if args.quick { quick } else { full })
        };
        let (mut chains, skipped) = chains(&args.chains, site)?;
        if let Some(folder) = &args.previous {
            let previous = AppProxy::previous(
                folder
                    .canonicalize()
                    .with_context(|| format!("--previous: {}", folder.display()))?,
            );
            if let Some(why) = previous.missing(site) {
                bail!("--previous: {why}");
            }
            // Beside App-Proxy, so that the machine is the same for both.
            let beside = chains.iter().position(|chain| chain.name() == "app-proxy");
            chains.insert(
                beside.map_or(chains.len(), |index| index + 1),
                Box::new(previous),
            );
        }
        Ok(Self {
            chains,
            skipped,
            workloads: named(
                workload::all(),
                &args.only,
                |workload| workload.name(),
                "workload",
            )?,
            pace: Pace {
                quick: args.quick,
                rounds: default(args.rounds, 4, 2),
            },
            restarts: default(args.restarts, 3, 1),
            attempts: 1 + default(args.retries, 2, 0),
            limits: args.limits(),
            client_core: args.client_core,
            budget: Duration::from_secs_f64(args.budget * 60.0),
        })
    }

    /// The workloads that run on fresh processes, before all others.
    pub(super) fn first(&self) -> Vec<usize> {
        self.places(true)
    }

    /// The others, in their order.
    pub(super) fn rest(&self) -> Vec<usize> {
        self.places(false)
    }

    fn places(&self, first: bool) -> Vec<usize> {
        let places = self.workloads.iter().enumerate();
        places
            .filter(|(_, workload)| workload.needs_fresh_processes() == first)
            .map(|(place, _)| place)
            .collect()
    }

    /// Returns whether there is time to repeat a batch, if the remaining batches last as long
    /// as the previous ones.
    pub(super) fn allows_another(
        &self,
        elapsed: Duration,
        batch: Duration,
        restart: usize,
        before: usize,
    ) -> bool {
        let in_all = u32::try_from(self.restarts * self.workloads.len()).unwrap_or(1);
        let done = u32::try_from((restart - 1) * self.workloads.len() + before + 1).unwrap_or(1);
        let to_come = elapsed / done.max(1) * in_all.saturating_sub(done);
        elapsed + batch + to_come <= self.budget
    }
}

/// Returns the chains that can run here, and those that cannot, unless they were requested.
fn chains(asked: &[String], site: &Site) -> Result<(Vec<Box<dyn Chain>>, Skipped)> {
    let (mut there, mut skipped) = (Vec::new(), Vec::new());
    for chain in named(chain::all(), asked, |chain| chain.name(), "chain")? {
        match chain.missing(site) {
            None => there.push(chain),
            Some(why) if !asked.is_empty() => bail!("the chain {} cannot run: {why}", chain.name()),
            Some(why) => {
                eprintln!("the chain {} is left out: {why}", chain.name());
                skipped.push((chain.name().to_owned(), why));
            }
        }
    }
    Ok((there, skipped))
}

/// Those with these names, or all.
fn named<T>(
    all: Vec<T>,
    names: &[String],
    name: impl Fn(&T) -> &'static str,
    what: &str,
) -> Result<Vec<T>> {
    if let Some(unknown) = names
        .iter()
        .find(|asked| !all.iter().any(|one| name(one) == asked.as_str()))
    {
        let known: Vec<&str> = all.iter().map(&name).collect();
        bail!(
            "there is no {what} {unknown}; there are {}",
            known.join(", ")
        );
    }
    Ok(all
        .into_iter()
        .filter(|one| names.is_empty() || names.iter().any(|asked| asked == name(one)))
        .collect())
}
