//! The way of a daemon from its command line to its exit code.

use std::process::ExitCode;

use app_proxy_hop::config::AccessLogSection;
use app_proxy_hop::error::Tier;
use log::{error, info};

use crate::config::{ConfigError, ConfigFile, ConfigPath};
use crate::daemon::background::{self, Report, Side};
use crate::daemon::error::StartError;
use crate::daemon::flags::Flags;
use crate::daemon::launch::Launch;
use crate::daemon::logging::{LogFilter, Logging};
use crate::daemon::server::{TierServer, server_conf};
use crate::daemon::{service_manager, signals};
use crate::pingora::hand_over::Claim;

/// The configuration of a tier, as a daemon needs it.
pub trait TierConfig: Sized {
    /// Reads and validates a file.
    ///
    /// # Errors
    /// One line that names the file, the line and the key.
    fn load(path: &ConfigPath) -> Result<Self, ConfigError>;

    /// The file.
    fn file(&self) -> &ConfigFile;

    /// The access log.
    fn access_log(&self) -> &AccessLogSection;

    /// The levels of diagnostics.
    fn log_level(&self) -> &LogFilter;
}

/// A tier as a program.
pub struct Program<C> {
    /// The name of the program.
    pub name: &'static str,
    /// The tier.
    pub tier: Tier,
    /// The description for `--help`.
    pub about: &'static str,
    /// Checks the files that a start needs, without creating any (`-t`).
    pub check: fn(&C) -> Result<(), StartError>,
}

/// Runs a daemon as its command line says; `build` creates its server. An error is printed on
/// standard error as one line.
pub fn main<C: TierConfig>(
    program: &Program<C>,
    build: impl FnOnce(C, Launch) -> Result<TierServer, StartError>,
) -> ExitCode {
    let logging = Logging::start();
    let flags = match Flags::parse(program.name, program.about, std::env::args_os()) {
        Ok(flags) => flags,
        Err(e) => {
            let _ = e.print();
            return u8::try_from(e.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from);
        }
    };
    let mut report = Report::default();
    match run(program, Launch { flags, logging }, &mut report, build) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) if e.is_stop() => ExitCode::SUCCESS,
        Err(e) => {
            // The foreground process prints the error, if it still waits. Otherwise one clear line,
            // whatever the log level is.
            if !report.failed(&e.to_string()) {
                eprintln!("{}: {e}", program.name);
            }
            ExitCode::FAILURE
        }
    }
}

fn run<C: TierConfig>(
    program: &Program<C>,
    launch: Launch,
    report: &mut Report,
    build: impl FnOnce(C, Launch) -> Result<TierServer, StartError>,
) -> Result<(), StartError> {
    let config = C::load(launch.conf())?;
    let conf = config.file().server()?;
    if launch.flags.test {
        (program.check)(&config)?;
        background::check(config.file(), &conf)?;
        config.file().log_warnings();
        info!("{} is valid", launch.conf());
        return Ok(());
    }
    let in_background = launch.flags.daemon || conf.daemon;
    if in_background {
        let keeps_output = config.access_log().file().is_none();
        match background::fork(config.file(), &conf, keeps_output)? {
            Side::Foreground(foreground) => return Ok(foreground.wait()?),
            Side::Daemon(pipe, entered) => {
                *report = pipe;
                entered?;
            }
        }
    }
    signals::install_early_handlers();
    launch.logging.set_level(config.log_level());
    config.file().log_warnings();
    // Before the store, which a process that is refused must not touch.
    let claim = launch
        .is_upgrade()
        .then(|| claim(config.file(), program.tier));
    let claim = claim.transpose()?;
    let server = build(config, launch)?;
    serve(server, claim, in_background, report)
}

/// Claims the place at which a successor waits for the listening sockets.
fn claim(file: &ConfigFile, tier: Tier) -> Result<Claim, ConfigError> {
    let conf = server_conf(file, tier)?;
    Claim::new(&conf.upgrade_sock).map_err(|e| file.fault_of("upgrade_sock", "upgrade_sock", e))
}

/// Serves until a signal ends the daemon.
fn serve(
    server: TierServer,
    claim: Option<Claim>,
    in_background: bool,
    report: &mut Report,
) -> Result<(), StartError> {
    let pid_file = in_background.then(|| server.pid_file()).transpose()?;
    if in_background {
        server.leave_folder()?;
    }
    if let Some(claim) = claim {
        // The operator signals the predecessor when the foreground process returns; only then come
        // the sockets.
        report.ready();
        server.inherit(claim)?;
    }
    let running = server.start()?;
    if let Some(file) = &pid_file
        && let Err(e) = file.publish()
    {
        error!("cannot write the pid file: {e}");
    }
    service_manager::ready();
    report.ready();
    running.wait();
    Ok(())
}
