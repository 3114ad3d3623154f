//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::validity::Limits;

/// Measures App-Proxy and other proxies. docs/benchmark.md describes the method.
#[derive(Debug, Parser)]
#[command(name = "app-proxy-bench", version)]
pub struct Cli {
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// A command.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Measure, print the table, and write result.json and chart.svg
    Run(RunArgs),
    /// Measure a coordinator with many apps, sessions and workers, and print the table
    Scale(ScaleArgs),
    /// Name the workloads and the chains
    List,
    /// The application behind the chains; `run` starts it
    App {
        /// The address to listen on
        #[arg(long, value_name = "ADDR")]
        listen: SocketAddr,
    },
}

/// The options of a measurement.
#[derive(Clone, Debug, Args)]
pub struct RunArgs {
    /// Less of everything, to see that it works: the figures mean little
    #[arg(long)]
    pub quick: bool,
    /// Only these workloads (`list` names them)
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    pub only: Vec<String>,
    /// Only these chains; a chain that cannot run here is then an error
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    pub chains: Vec<String>,
    /// Rounds of a batch [default: 4, with --quick 2]
    #[arg(long, value_name = "N")]
    pub rounds: Option<usize>,
    /// The number of times that all processes are started [default: 3, with --quick 1]
    #[arg(long, value_name = "N")]
    pub restarts: Option<usize>,
    /// The number of repetitions of a void batch, if the time allows it [default: 2, with --quick
    /// 0]
    #[arg(long, value_name = "N")]
    pub retries: Option<usize>,
    /// Void batches are measured again only as long as this can be kept
    #[arg(long, value_name = "MINUTES", default_value_t = 28.0)]
    pub budget: f64,
    /// The core of the client and the application
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub client_core: usize,
    /// The core of all proxies
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub proxy_core: usize,
    /// The least that haproxy / nginx may be
    #[arg(long, value_name = "RATIO", default_value_t = 1.0)]
    pub control_min: f64,
    /// The most that haproxy / nginx may be
    #[arg(long, value_name = "RATIO", default_value_t = 1.25)]
    pub control_max: f64,
    /// The most CPU that other processes may use, in % of all cores
    #[arg(long, value_name = "PERCENT", default_value_t = 3.0)]
    pub foreign: f64,
    /// The most CPU that may be stolen, in % of all cores
    #[arg(long, value_name = "PERCENT", default_value_t = 2.0)]
    pub stolen: f64,
    /// Folder of App-Proxy's programs [default: that of this program]
    #[arg(long, value_name = "FOLDER")]
    pub bin: Option<PathBuf>,
    /// Folder of App-Proxy's programs of another build, measured as the chain `previous` in the
    /// same run (scripts/bench.sh builds those of a commit)
    #[arg(long, value_name = "FOLDER")]
    pub previous: Option<PathBuf>,
    /// Folder in which npm has installed configurable-http-proxy
    #[arg(long, value_name = "FOLDER", default_value = "target/npm")]
    pub npm: PathBuf,
    /// Folder for all results
    #[arg(long, value_name = "FOLDER", default_value = "target/bench")]
    pub out: PathBuf,
    /// Copy result.json and chart.svg to docs/performance/
    #[arg(long)]
    pub publish: bool,
}

/// The sizes of a measurement of scale.
#[derive(Clone, Debug, Args)]
pub struct ScaleArgs {
    /// Apps
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    pub apps: usize,
    /// Sessions
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    pub sessions: usize,
    /// Simulated workers, in addition to the one that serves
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub workers: usize,
    /// Changes, each measured until all workers have applied it
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub changes: usize,
    /// The core of everything but the coordinator
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub client_core: usize,
    /// The core of the coordinator
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub coordinator_core: usize,
    /// Folder of App-Proxy's programs [default: that of this program]
    #[arg(long, value_name = "FOLDER")]
    pub bin: Option<PathBuf>,
    /// Folder in which the daemons run; their files are deleted afterwards
    #[arg(long, value_name = "FOLDER", default_value = "target/bench")]
    pub out: PathBuf,
}

impl RunArgs {
    /// The limits within which a batch counts.
    #[must_use]
    pub fn limits(&self) -> Limits {
        Limits {
            control_min: self.control_min,
            control_max: self.control_max,
            foreign_percent: self.foreign,
            stolen_percent: self.stolen,
        }
    }
}
