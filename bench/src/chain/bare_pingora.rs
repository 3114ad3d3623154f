//! Pingora → Pingora: `src/bin/bare-pingora.rs`, which has only the features that all chains
//! share.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::Result;

use super::{Chain, Site, Started, start_pair};
use crate::process::{Process, Program};

/// Pingora without App-Proxy: the cost of the framework.
#[derive(Debug)]
pub(super) struct BarePingora;

impl BarePingora {
    fn tier(
        site: &Site,
        folder: &Path,
        tier: &str,
        listen: SocketAddr,
        next: SocketAddr,
    ) -> Result<Process> {
        Program {
            name: &format!("bare-pingora-{tier}"),
            folder,
            core: site.core,
            file: &site.bin.join("bare-pingora"),
            args: [
                &listen.to_string(),
                &next.to_string(),
                &format!("{tier}.log"),
            ]
            .map(Into::into)
            .into(),
        }
        .start()
    }
}

impl Chain for BarePingora {
    fn name(&self) -> &'static str {
        "pingora"
    }

    fn missing(&self, site: &Site) -> Option<String> {
        let file = site.bin.join("bare-pingora");
        (!file.is_file()).then(|| format!("{} is not built", file.display()))
    }

    fn version(&self, _site: &Site) -> Option<String> {
        let lock = include_str!("../../../Cargo.lock");
        let version = lock
            .lines()
            .skip_while(|line| *line != "name = \"pingora\"")
            .nth(1)?;
        Some(format!("Pingora {}", version.split('"').nth(1)?))
    }

    fn start(&self, site: &mut Site, folder: &str) -> Result<Started> {
        start_pair(site, folder, Self::tier)
    }
}
