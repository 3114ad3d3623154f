//! `app-proxy-bench`.

use std::io::{Write, stdout};
use std::process::ExitCode;

use anyhow::Result;
use app_proxy_bench::cli::{Cli, Command};
use app_proxy_bench::{app, chain, run, scale, workload};
use clap::Parser;
use tokio::task::LocalSet;

fn main() -> ExitCode {
    match execute(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("app-proxy-bench: {fault:#}");
            ExitCode::FAILURE
        }
    }
}

fn execute(command: Command) -> Result<()> {
    // One thread, with tasks that never leave it.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let tasks = LocalSet::new();
    match command {
        Command::Run(args) => tasks.block_on(&runtime, run::run(&args)),
        Command::Scale(args) => tasks.block_on(&runtime, scale::run(&args)),
        Command::App { listen } => tasks.block_on(&runtime, app::serve(listen)),
        Command::List => list(),
    }
}

fn list() -> Result<()> {
    let mut out = stdout().lock();
    writeln!(out, "workloads:")?;
    for workload in workload::all() {
        writeln!(out, "  {:<17} {}", workload.name(), workload.title())?;
    }
    let chains: Vec<&str> = chain::all().iter().map(|chain| chain.name()).collect();
    writeln!(out, "chains:\n  {}", chains.join(", "))?;
    Ok(())
}
