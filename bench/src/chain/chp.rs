//! configurable-http-proxy → configurable-http-proxy. It has neither a request ID nor an access
//! log, so it does less than the others.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::{Chain, Site, Started, find, first_line};
use crate::process::{Process, Program};

/// The proxy that many notebook platforms use today.
#[derive(Debug)]
pub(super) struct Chp;

impl Chp {
    fn package(site: &Site) -> PathBuf {
        site.npm.join("node_modules/configurable-http-proxy")
    }

    fn script(site: &Site) -> PathBuf {
        Self::package(site).join("bin/configurable-http-proxy")
    }

    fn tier(
        site: &Site,
        folder: &Path,
        tier: &str,
        addresses: [SocketAddr; 2],
        next: SocketAddr,
    ) -> Result<Process> {
        let [listen, api] = addresses;
        let (port, api_port) = (listen.port().to_string(), api.port().to_string());
        let mut args = vec![Self::script(site).into_os_string()];
        args.extend(
            [
                "--ip",
                "127.0.0.1",
                "--port",
                &port,
                "--api-ip",
                "127.0.0.1",
                "--api-port",
                &api_port,
            ]
            .map(Into::into),
        );
        args.extend(
            [
                "--default-target",
                &format!("http://{next}"),
                "--log-level",
                "warn",
            ]
            .map(Into::into),
        );
        Program {
            name: &format!("chp-{tier}"),
            folder,
            core: site.core,
            file: &find("node").unwrap_or_default(),
            args,
        }
        .start()
    }
}

impl Chain for Chp {
    fn name(&self) -> &'static str {
        "chp"
    }

    fn missing(&self, site: &Site) -> Option<String> {
        if find("node").is_none() {
            return Some("node is not installed".to_owned());
        }
        let script = Self::script(site);
        (!script.is_file()).then(|| format!("{} is not there", script.display()))
    }

    fn version(&self, site: &Site) -> Option<String> {
        let package = fs::read_to_string(Self::package(site).join("package.json")).ok()?;
        let package: serde_json::Value = serde_json::from_str(&package).ok()?;
        let node = first_line(&find("node")?, "--version")?;
        Some(format!(
            "configurable-http-proxy {}, node {node}",
            package.get("version")?.as_str()?
        ))
    }

    fn request_id(&self) -> bool {
        false
    }

    fn start(&self, site: &mut Site, folder: &str) -> Result<Started> {
        let folder = site.folder(folder)?;
        let mut ports = || site.ports.free();
        let (first, second) = ([ports()?, ports()?], [ports()?, ports()?]);
        let processes = vec![
            Self::tier(site, &folder, "first", first, second[0])?,
            Self::tier(site, &folder, "second", second, site.app)?,
        ];
        Ok(Started {
            entry: first[0],
            processes,
            logs: Vec::new(),
        })
    }
}
