//! The same bytes through the engine, through Pingora's loop and through hyper's server, in memory
//! and on one thread. The clock is paused, so that it moves only when nothing else can: then the
//! proxy has done with the bytes all that it can do.

mod judge;
mod memory;
mod outcome;
mod phases;
mod recorder;
mod reference;
mod response;

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use app_proxy_engine::{Engine, Protocols};
use pingora_core::apps::ServerApp;
use pingora_core::server::ShutdownWatch;
use pingora_core::server::configuration::ServerConf;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::runtime::{Builder, Runtime};

pub(crate) use judge::{KNOWN, Verdict, judge};
pub(crate) use outcome::Outcome;
pub(crate) use response::{Answer, KNOWN as KNOWN_ANSWERS, judge_answers};

use memory::Memory;
use phases::Phases;
use recorder::Recorder;

/// The buffer of a connection, in bytes: more than any input, so that no writer waits.
const BUFFER: usize = 4 * 1024 * 1024;
/// The time after which the proxy has done all that it can without more input.
const SETTLED: Duration = Duration::from_millis(10);

/// A runtime on the current thread whose clock is paused.
///
/// # Panics
/// If it cannot be built.
pub(crate) fn runtime() -> Runtime {
    let mut builder = Builder::new_current_thread();
    builder.enable_all().start_paused(true);
    builder.build().expect("a runtime")
}

/// The proxies under comparison, with an application in memory behind each.
pub(crate) struct Proxies {
    runtime: Runtime,
    engine: Side<Engine<Phases>>,
    pingora: Side<pingora_proxy::HttpProxy<Phases>>,
}

/// A proxy and its application.
struct Side<A> {
    app: Arc<A>,
    recorder: Recorder,
}

static CONF: LazyLock<Arc<ServerConf>> = LazyLock::new(|| Arc::new(ServerConf::default()));

impl Default for Proxies {
    fn default() -> Self {
        Self::new()
    }
}

impl Proxies {
    /// Creates the proxies.
    #[must_use]
    pub(crate) fn new() -> Self {
        let engine = Recorder::default();
        let pingora = Recorder::default();
        let phases = Phases::new(Memory::new(&engine));
        let proxy = app_proxy_engine::proxy(
            &CONF,
            Phases::new(Memory::new(&pingora)),
            Protocols::default(),
        );
        Self {
            runtime: runtime(),
            engine: Side {
                app: Arc::new(Engine::new(&CONF, phases, Protocols::default())),
                recorder: engine,
            },
            pingora: Side {
                app: Arc::new(proxy),
                recorder: pingora,
            },
        }
    }

    /// Sends `input` to the engine as a client, and returns what the application saw.
    pub(crate) fn engine(&self, input: &[u8]) -> Outcome {
        self.runtime.block_on(self.engine.run(input))
    }

    /// The same for Pingora's loop.
    pub(crate) fn pingora(&self, input: &[u8]) -> Outcome {
        self.runtime.block_on(self.pingora.run(input))
    }

    /// The same for hyper's server, which is an application itself.
    pub(crate) fn hyper(&self, input: &[u8]) -> Outcome {
        self.runtime.block_on(reference::hyper(input))
    }
}

impl Proxies {
    /// Answers a request of this method with `answer` as an application behind the engine, and
    /// returns what the client got.
    pub(crate) fn engine_answer(&self, method: &str, answer: &[u8]) -> Answer {
        self.runtime
            .block_on(self.engine.run_answer(method, answer))
    }

    /// The same for Pingora's loop.
    pub(crate) fn pingora_answer(&self, method: &str, answer: &[u8]) -> Answer {
        self.runtime
            .block_on(self.pingora.run_answer(method, answer))
    }
}

impl<A: ServerApp + Send + Sync + 'static> Side<A> {
    async fn run(&self, input: &[u8]) -> Outcome {
        let (answer, closed) = self.exchange(input).await;
        Outcome::new(self.recorder.take(), answer, closed)
    }

    async fn run_answer(&self, method: &str, answer: &[u8]) -> Answer {
        self.recorder.answer(answer);
        let request = format!("{method} / HTTP/1.1\r\nHost: h.example\r\n\r\n");
        let (received, closed) = self.exchange(request.as_bytes()).await;
        self.recorder.take();
        Answer::new(&received, method.as_bytes(), closed)
    }

    /// Sends bytes on a new connection, and returns all that comes back, and whether the
    /// connection was closed.
    async fn exchange(&self, input: &[u8]) -> (Vec<u8>, bool) {
        let (client, server) = duplex(BUFFER);
        let app = Arc::clone(&self.app);
        let (_running, shutdown): (_, ShutdownWatch) = tokio::sync::watch::channel(false);
        let served = tokio::spawn(async move {
            let mut stream = Some(Box::new(server) as pingora_core::protocols::Stream);
            while let Some(open) = stream.take() {
                stream = app.process_new(open, &shutdown).await;
            }
        });
        let outcome = talk(client, input).await;
        // The client is gone, and all that is left comes to its end.
        tokio::time::sleep(SETTLED).await;
        served.abort();
        outcome
    }
}

/// Sends the input, and returns all that comes back until nothing more does, and whether the
/// connection was closed by then.
async fn talk(mut client: DuplexStream, input: &[u8]) -> (Vec<u8>, bool) {
    // A server that has closed already does not read the rest.
    let _ = client.write_all(input).await;
    let mut answer = Vec::new();
    loop {
        match tokio::time::timeout(SETTLED, client.read_buf(&mut answer)).await {
            Ok(Ok(0) | Err(_)) => return (answer, true),
            Ok(Ok(_)) => {}
            Err(_) => return (answer, false),
        }
    }
}
