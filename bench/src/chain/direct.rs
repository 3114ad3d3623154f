//! No proxy: the cost of the client and the application alone.

use anyhow::Result;

use super::{Chain, Site, Started};

/// The application alone.
#[derive(Debug)]
pub(super) struct Direct;

impl Chain for Direct {
    fn name(&self) -> &'static str {
        "direct"
    }

    fn missing(&self, _site: &Site) -> Option<String> {
        None
    }

    fn version(&self, _site: &Site) -> Option<String> {
        None
    }

    fn request_id(&self) -> bool {
        false
    }

    fn start(&self, site: &mut Site, _folder: &str) -> Result<Started> {
        Ok(Started {
            entry: site.app,
            processes: Vec::new(),
            logs: Vec::new(),
        })
    }
}
