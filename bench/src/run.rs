//! A run: restarts, batches, and repeated batches.

mod plan;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::time::{sleep, timeout};

use crate::batch::{BASELINE, Batch, Surroundings, ratios};
use crate::chain::{Chain, Running, Site, Target, Visits};
use crate::cli::RunArgs;
use crate::client::Connection;
use crate::machine::Machine;
use crate::metric::Metric;
use crate::ports::Ports;
use crate::process::{self, Process, Program};
use crate::report::{self, Report};
use crate::workload::{Saturated, Workload};
pub use plan::Plan;

/// Sessions of a chain's clients: more than any of them has connections with requests.
const VISITS: Visits = Visits { apps: 1, each: 64 };

/// Runs the measurements of the arguments, and reports the results.
///
/// # Errors
/// A chain does not start, one of its processes has ended, or the result cannot be written.
pub async fn run(args: &RunArgs) -> Result<()> {
    process::raise_file_limit()?;
    process::stay_on(args.client_core)?;
    ensure!(
        args.client_core != args.proxy_core,
        "the client and the proxies need a core each"
    );
    let mut runner = Runner::new(args)?;
    for restart in 1..=runner.plan.restarts {
        runner.restart(restart).await?;
    }
    let report = Report::new(
        &runner.plan,
        runner.machine,
        args.limits(),
        runner.batches,
        runner.begun.elapsed(),
    );
    report::publish(&report, args)
}

struct Runner {
    plan: Plan,
    site: Site,
    machine: Machine,
    batches: Vec<Batch>,
    begun: Instant,
}

impl Runner {
    fn new(args: &RunArgs) -> Result<Self> {
        std::fs::create_dir_all(&args.out).with_context(|| args.out.display().to_string())?;
        let out = args.out.canonicalize()?;
        let program = std::env::current_exe()?;
        let mut ports = Ports::default();
        let app = ports.free()?;
        let beside = program.parent().unwrap_or(&out).to_owned();
        let site = Site {
            bin: args.bin.clone().unwrap_or(beside).canonicalize()?,
            npm: args.npm.canonicalize().unwrap_or_else(|_| args.npm.clone()),
            folder: out.join("run"),
            ports,
            core: args.proxy_core,
            app,
        };
        let plan = Plan::new(args, &site)?;
        let machine = Machine::describe(&site, &plan.chains);
        Ok(Self {
            plan,
            site,
            machine,
            batches: Vec::new(),
            begun: Instant::now(),
        })
    }

    /// Starts everything, measures a batch of each workload, and ends everything.
    async fn restart(&mut self, restart: usize) -> Result<()> {
        let app = self.start_app().await?;
        for (done, index) in self.plan.first().into_iter().enumerate() {
            let mut chains = self.start_chains().await?;
            self.workload((restart, done), index, &app, &mut chains)
                .await?;
        }
        let (first, rest) = (self.plan.first().len(), self.plan.rest());
        if rest.is_empty() {
            return Ok(());
        }
        let mut chains = self.start_chains().await?;
        self.warm_up(&chains).await;
        for (done, index) in rest.into_iter().enumerate() {
            self.workload((restart, first + done), index, &app, &mut chains)
                .await?;
        }
        Ok(())
    }

    async fn start_chains(&mut self) -> Result<Vec<Running>> {
        let mut chains = Vec::new();
        for chain in &self.plan.chains {
            chains.push(start_chain(chain.as_ref(), &mut self.site).await?);
        }
        Ok(chains)
    }

    /// Loads every chain for a second, which some chains need to reach full speed.
    async fn warm_up(&self, chains: &[Running]) {
        for running in chains {
            Saturated::keepalive()
                .slice_of(&running.target, self.plan.pace.timing(1_000))
                .await;
        }
    }

    async fn start_app(&self) -> Result<Process> {
        let folder = self.site.folder("app")?;
        let app = Program {
            name: "app",
            folder: &folder,
            core: self.plan.client_core,
            file: &std::env::current_exe()?,
            args: ["app", "--listen", &self.site.app.to_string()]
                .map(Into::into)
                .into(),
        };
        let mut app = app.start()?;
        let listening = async {
            while Connection::open(self.site.app).await.is_err() {
                app.check()?;
                sleep(Duration::from_millis(10)).await;
            }
            anyhow::Ok(())
        };
        timeout(Duration::from_secs(10), listening)
            .await
            .context("the application does not listen")??;
        Ok(app)
    }

    /// A batch of one workload, repeated while it is void and there is time.
    async fn workload(
        &mut self,
        (restart, done): (usize, usize),
        index: usize,
        app: &Process,
        chains: &mut [Running],
    ) -> Result<()> {
        let Some(workload) = self.plan.workloads.get(index) else {
            return Ok(());
        };
        let mut variants = workload.variants(&mut self.site, self.plan.pace).await?;
        for attempt in 1..=self.plan.attempts {
            let begun = Instant::now();
            let contestants: Vec<&Target> = if workload.has_variants() {
                variants.iter().map(|running| &running.target).collect()
            } else {
                chains.iter().map(|running| &running.target).collect()
            };
            let surroundings = Surroundings {
                chains,
                app: app.pid(),
                pace: self.plan.pace,
                limits: self.plan.limits,
            };
            let (conditions, rounds) = surroundings.batch(workload.as_ref(), &contestants).await;
            let batch = Batch {
                workload: workload.name().to_owned(),
                restart,
                attempt,
                void: self.plan.limits.faults(&conditions),
                conditions,
                rounds,
            };
            say(&self.plan, workload.as_ref(), &batch, self.begun.elapsed());
            for running in chains.iter_mut().chain(&mut variants) {
                running.check()?;
                running.empty_logs();
            }
            let void = !batch.void.is_empty();
            self.batches.push(batch);
            if !void
                || !self
                    .plan
                    .allows_another(self.begun.elapsed(), begun.elapsed(), restart, done)
            {
                break;
            }
        }
        Ok(())
    }
}

async fn start_chain(chain: &dyn Chain, site: &mut Site) -> Result<Running> {
    let started = chain
        .start(site, chain.name())
        .with_context(|| format!("the chain {} does not start", chain.name()))?;
    Running::ready(started, chain, chain.name(), VISITS).await
}

/// One line of progress.
fn say(plan: &Plan, workload: &dyn Workload, batch: &Batch, elapsed: Duration) {
    let seconds = elapsed.as_secs();
    let outcome = if batch.void.is_empty() {
        "ok".to_owned()
    } else {
        format!("VOID: {}", batch.void.join("; "))
    };
    let metric = workload.metrics().first().copied().unwrap_or(Metric::Cpu);
    let names = batch.rounds.first().map(|round| {
        round
            .iter()
            .map(|(name, _)| name.as_str())
            .collect::<Vec<_>>()
    });
    let names = names.unwrap_or_default();
    let (name, baseline) = if workload.has_variants() {
        (
            names.last().copied().unwrap_or_default(),
            names.first().copied().unwrap_or_default(),
        )
    } else {
        ("app-proxy", BASELINE)
    };
    let ratio = ratios(&batch.rounds, name, baseline, metric).map_or_else(String::new, |spread| {
        format!(", {name} {:.2} of {baseline}", spread.median)
    });
    let control = batch
        .conditions
        .control
        .map_or_else(String::new, |control| format!(", control {control:.2}"));
    eprintln!(
        "[{:>2}:{:02}] restart {}/{}, {:<16} {outcome}{ratio}{control}, foreign {:.1} %, \
         stolen {:.1} %",
        seconds / 60,
        seconds % 60,
        batch.restart,
        plan.restarts,
        batch.workload,
        batch.conditions.foreign_percent,
        batch.conditions.stolen_percent,
    );
}
