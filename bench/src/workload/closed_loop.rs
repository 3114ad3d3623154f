//! Connections that send a request when the last one is answered.

use std::rc::Rc;
use std::time::Instant;

use tokio::task::JoinSet;

use crate::chain::Target;
use crate::client::{Connection, Expected, Failure};
use crate::meter::{Meter, Timing, measure};
use crate::metric::Sample;

/// The bytes of the requests that one connection sends.
pub(super) trait Requests: 'static {
    /// The next one.
    fn next(&mut self) -> &[u8];
}

/// The same request again and again.
impl Requests for Vec<u8> {
    fn next(&mut self) -> &[u8] {
        self
    }
}

/// A slice of so many connections, each with requests of its own.
pub(super) async fn slice<R: Requests>(
    target: &Target,
    timing: Timing,
    length: u64,
    connections: impl Iterator<Item = R>,
) -> Sample {
    let meter = Rc::new(Meter::default());
    let expected = Expected {
        length,
        request_id: target.request_id,
    };
    let mut clients = JoinSet::new();
    for requests in connections {
        let (meter, entry) = (Rc::clone(&meter), target.entry);
        clients.spawn_local(async move {
            let outcome = client(&meter, entry, requests, expected).await;
            meter.check(outcome);
        });
    }
    measure(&meter, target, timing, clients).await
}

async fn client(
    meter: &Meter,
    entry: std::net::SocketAddr,
    mut requests: impl Requests,
    expected: Expected,
) -> Result<(), Failure> {
    // Larger answers are read in pieces, as by any client.
    let buffer = if expected.length > 4096 {
        64 << 10
    } else {
        8 << 10
    };
    let mut connection = Connection::open_with(entry, buffer).await?;
    while meter.goes_on() {
        let begun = Instant::now();
        connection.exchange(requests.next(), expected).await?;
        meter.done(begun.elapsed());
    }
    Ok(())
}
