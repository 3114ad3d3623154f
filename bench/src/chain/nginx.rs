//! nginx → nginx.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::Result;

use super::{Chain, Site, Started, find, first_line, start_pair};
use crate::process::{Process, Program};

/// The baseline of the comparison.
#[derive(Debug)]
pub(super) struct Nginx;

/// One tier's configuration. `LISTEN`, `NEXT` and `TIER` are replaced.
const CONFIG: &str = include_str!("nginx/nginx.conf");

impl Nginx {
    fn tier(
        site: &Site,
        folder: &Path,
        tier: &str,
        listen: SocketAddr,
        next: SocketAddr,
    ) -> Result<Process> {
        let config = CONFIG
            .replace("LISTEN", &listen.to_string())
            .replace("NEXT", &next.to_string())
            .replace("TIER", tier);
        fs::write(folder.join(format!("{tier}.conf")), config)?;
        Program {
            name: &format!("nginx-{tier}"),
            folder,
            core: site.core,
            file: &find("nginx").unwrap_or_default(),
            args: ["-p", ".", "-e", "stderr", "-c", &format!("{tier}.conf")]
                .map(Into::into)
                .into(),
        }
        .start()
    }
}

impl Chain for Nginx {
    fn name(&self) -> &'static str {
        "nginx"
    }

    fn missing(&self, _site: &Site) -> Option<String> {
        find("nginx")
            .is_none()
            .then(|| "nginx is not installed".to_owned())
    }

    fn version(&self, _site: &Site) -> Option<String> {
        first_line(&find("nginx")?, "-v")
    }

    fn start(&self, site: &mut Site, folder: &str) -> Result<Started> {
        start_pair(site, folder, Self::tier)
    }
}
