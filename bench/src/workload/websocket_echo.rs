//! WebSocket messages that come back.

use std::rc::Rc;
use std::time::Instant;

use async_trait::async_trait;
use tokio::task::JoinSet;

use super::idle_websockets::open_many;
use super::{Pace, Workload};
use crate::chain::Target;
use crate::client::websocket::Message;
use crate::client::{Failure, WebSocket};
use crate::meter::{Meter, measure};
use crate::metric::{Metric, Sample};

/// WebSockets at once.
const CONNECTIONS: usize = 500;

/// 500 WebSockets, each with one message of 125 bytes under way.
#[derive(Debug)]
pub(super) struct WebSocketEcho;

#[async_trait(?Send)]
impl Workload for WebSocketEcho {
    fn name(&self) -> &'static str {
        "websocket"
    }

    fn title(&self) -> &'static str {
        "WebSocket echo, 500 connections, 125 B"
    }

    fn unit(&self) -> &'static str {
        "message and its echo"
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

    fn saturates(&self) -> bool {
        true
    }

    async fn slice(&self, target: &Target, pace: Pace) -> Sample {
        let sockets = match open_many(target, CONNECTIONS).await {
            Ok(sockets) => sockets,
            Err(failure) => return Sample::failed(&failure),
        };
        let meter = Rc::new(Meter::default());
        let mut clients = JoinSet::new();
        for socket in sockets {
            let meter = Rc::clone(&meter);
            clients.spawn_local(async move { meter.check(client(&meter, socket).await) });
        }
        measure(&meter, target, pace.timing(400), clients).await
    }
}

async fn client(meter: &Meter, mut socket: WebSocket) -> Result<(), Failure> {
    let message = Message::new(0x2, &[b'm'; 125]);
    while meter.goes_on() {
        let begun = Instant::now();
        socket.echo(&message).await?;
        meter.done(begun.elapsed());
    }
    socket.close().await
}
