//! The chains: two proxies of a kind in a row, in front of the application. Each is a file with one
//! struct.

mod app_proxy;
mod bare_pingora;
mod chp;
mod direct;
mod features;
mod haproxy;
mod nginx;
mod running;
mod visitors;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::ports::Ports;
use crate::process::Process;

pub use app_proxy::AppProxy;
pub(crate) use app_proxy::{PREVIOUS, worker_config};
pub use running::{Running, Target};
pub use visitors::Visits;
pub(crate) use visitors::{app_name, collect};

/// A kind of proxy, twice in a row.
pub trait Chain {
    /// Its name on the command line, in the table and in the JSON.
    fn name(&self) -> &'static str;

    /// The reason for which the chain cannot run here, if there is one.
    fn missing(&self, site: &Site) -> Option<String>;

    /// The version of the program.
    fn version(&self, site: &Site) -> Option<String>;

    /// True if both tiers forward a request ID, log it, and return it.
    fn request_id(&self) -> bool {
        true
    }

    /// True if it sets session cookies.
    fn sessions(&self) -> bool {
        false
    }

    /// Starts its processes in a folder of this name.
    ///
    /// # Errors
    /// One of them cannot be started.
    fn start(&self, site: &mut Site, folder: &str) -> Result<Started>;
}

/// The folders, ports and cores that chains use.
#[derive(Debug)]
pub struct Site {
    /// The folder of App-Proxy's programs and of the bare Pingora proxy.
    pub bin: PathBuf,
    /// The folder in which npm has installed configurable-http-proxy.
    pub npm: PathBuf,
    /// The folder for all files of this restart.
    pub folder: PathBuf,
    /// Free ports.
    pub ports: Ports,
    /// The core of all proxies.
    pub core: usize,
    /// The application.
    pub app: SocketAddr,
}

impl Site {
    /// A new, empty folder.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.folder.join(name);
        if folder.exists() {
            std::fs::remove_dir_all(&folder)?;
        }
        std::fs::create_dir_all(&folder)?;
        Ok(folder)
    }
}

/// A chain whose processes were started.
#[derive(Debug)]
pub struct Started {
    /// The address to which clients connect.
    pub entry: SocketAddr,
    /// Its processes.
    pub processes: Vec<Process>,
    /// The access log of each tier.
    pub logs: Vec<PathBuf>,
}

/// Starts two tiers of a kind in a folder of this name, the second in front of the application.
/// Both write `<tier>.log` there, where they have a file for it.
fn start_pair(
    site: &mut Site,
    folder: &str,
    tier: impl Fn(&Site, &Path, &str, SocketAddr, SocketAddr) -> Result<Process>,
) -> Result<Started> {
    let folder = site.folder(folder)?;
    let (entry, middle) = (site.ports.free()?, site.ports.free()?);
    let processes = vec![
        tier(site, &folder, "first", entry, middle)?,
        tier(site, &folder, "second", middle, site.app)?,
    ];
    Ok(Started {
        entry,
        processes,
        logs: vec![folder.join("first.log"), folder.join("second.log")],
    })
}

/// All of them, in the order of the report.
#[must_use]
pub fn all() -> Vec<Box<dyn Chain>> {
    vec![
        Box::new(direct::Direct),
        Box::new(AppProxy::with_apps(1)),
        Box::new(nginx::Nginx),
        Box::new(haproxy::Haproxy),
        Box::new(bare_pingora::BarePingora),
        Box::new(chp::Chp),
    ]
}

/// Finds a program of this name, in `PATH` or in Debian's folders for daemons.
fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders =
        std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    folders
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

/// Returns the first line that a program prints for its version, on either output.
fn first_line(program: &Path, flag: &str) -> Option<String> {
    let output = Command::new(program).arg(flag).output().ok()?;
    let text = [output.stdout, output.stderr].concat();
    Some(
        String::from_utf8_lossy(&text)
            .lines()
            .next()?
            .trim()
            .to_owned(),
    )
}
