//! A coordinator that sends large models to the workers for them: requests of an app whose name
//! ends with `-large` go to workers with the label `gpu: large`, all others to the rest. Where no
//! such worker is left, the built-in placement selects one, so that requests are still served.
//! Its flags are those of `app-proxy-coordinator`.

use std::process::ExitCode;

use app_proxy_coordinator::{Candidate, Ketama, Placement, PlacementRequest, daemon};

/// Keeps large models and all other apps apart.
struct BySize;

impl Placement for BySize {
    fn place<'p>(&self, request: &PlacementRequest<'p>) -> Option<Candidate<'p>> {
        let large = request.app().name.ends_with("-large");
        let fits = |worker: Candidate<'p>| (worker.label("gpu") == Some("large")) == large;
        // A session stays at its worker, unless it went elsewhere while no worker fitted.
        let pinned = request.pinned().filter(|worker| fits(*worker));
        pinned
            .or_else(|| request.by_ketama(fits))
            .or_else(|| Ketama.place(request))
    }
}

fn main() -> ExitCode {
    daemon::main(|builder| builder.placement(BySize))
}
