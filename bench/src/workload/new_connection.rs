//! A connection for every request.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Instant;

use async_trait::async_trait;
use tokio::task::JoinSet;

use super::{Pace, Workload};
use crate::chain::Target;
use crate::client::{Connection, Expected, Failure, Request};
use crate::meter::{Meter, measure};
use crate::metric::{Metric, Sample};

/// The number of concurrent clients.
const CLIENTS: usize = 32;

/// 32 clients that connect, send a request, read to the connection's end, and begin again.
#[derive(Debug)]
pub(super) struct NewConnection;

#[async_trait(?Send)]
impl Workload for NewConnection {
    fn name(&self) -> &'static str {
        "new-connection"
    }

    fn title(&self) -> &'static str {
        "a new connection a request, 1 KiB"
    }

    fn unit(&self) -> &'static str {
        "request"
    }

    fn metrics(&self) -> &'static [Metric] {
        &[
            Metric::Cpu,
            Metric::P50,
            Metric::P99,
            Metric::Rate,
            Metric::Busy,
        ]
    }

    async fn slice(&self, target: &Target, pace: Pace) -> Sample {
        let meter = Rc::new(Meter::default());
        let mut clients = JoinSet::new();
        for i in 0..CLIENTS {
            let (meter, entry) = (Rc::clone(&meter), target.entry);
            let request = Request::get(target.visitor(i), "/1k")
                .header("Connection", "close")
                .into_bytes();
            let expected = Expected {
                length: 1 << 10,
                request_id: target.request_id,
            };
            clients.spawn_local(async move {
                meter.check(client(&meter, entry, &request, expected).await);
            });
        }
        measure(&meter, target, pace.timing(400), clients).await
    }
}

async fn client(
    meter: &Meter,
    entry: SocketAddr,
    request: &[u8],
    expected: Expected,
) -> Result<(), Failure> {
    while meter.goes_on() {
        let begun = Instant::now();
        let mut connection = Connection::open(entry).await?;
        connection.exchange(request, expected).await?;
        meter.done(begun.elapsed());
        // The proxy closes first, so the port is free for the client's next connection.
        connection.end().await?;
    }
    Ok(())
}
