//! haproxy → haproxy.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::Result;

use super::{Chain, Site, Started, find, first_line, start_pair};
use crate::process::{Process, Program};

/// The control: its cost relative to nginx is known.
#[derive(Debug)]
pub(super) struct Haproxy;

/// One tier's configuration. `LISTEN` and `NEXT` are replaced.
const CONFIG: &str = include_str!("haproxy/haproxy.cfg");

impl Haproxy {
    fn tier(
        site: &Site,
        folder: &Path,
        tier: &str,
        listen: SocketAddr,
        next: SocketAddr,
    ) -> Result<Process> {
        let config = CONFIG
            .replace("LISTEN", &listen.to_string())
            .replace("NEXT", &next.to_string());
        fs::write(folder.join(format!("{tier}.cfg")), config)?;
        Program {
            name: &format!("haproxy-{tier}"),
            folder,
            core: site.core,
            file: &find("haproxy").unwrap_or_default(),
            args: ["-db", "-f", &format!("{tier}.cfg")].map(Into::into).into(),
        }
        .start()
    }
}

impl Chain for Haproxy {
    fn name(&self) -> &'static str {
        "haproxy"
    }

    fn missing(&self, _site: &Site) -> Option<String> {
        find("haproxy")
            .is_none()
            .then(|| "haproxy is not installed".to_owned())
    }

    fn version(&self, _site: &Site) -> Option<String> {
        first_line(&find("haproxy")?, "-v")
    }

    fn start(&self, site: &mut Site, folder: &str) -> Result<Started> {
        let started = start_pair(site, folder, Self::tier)?;
        // It logs to standard output.
        Ok(Started {
            logs: started.processes.iter().map(Process::output).collect(),
            ..started
        })
    }
}
