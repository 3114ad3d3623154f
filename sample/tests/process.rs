//! Tests of the sample application's process: standard output and log.
#![allow(
    clippy::unwrap_used,
    reason = "a test may stop at what it did not expect"
)]

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStderr, Command};
use tokio::time::timeout;

struct Sample {
    // Killed when dropped.
    _process: Child,
    address: String,
    log: Lines<BufReader<ChildStderr>>,
}

impl Sample {
    async fn start() -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_app-proxy-sample"))
            .args(["--listen", "127.0.0.1:0"])
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut said = BufReader::new(process.stdout.take().unwrap()).lines();
        let line = said.next_line().await.unwrap().unwrap();
        let address = line.strip_prefix("listening on ").unwrap().to_owned();
        let log = BufReader::new(process.stderr.take().unwrap()).lines();
        Self {
            _process: process,
            address,
            log,
        }
    }

    async fn send(&self, path: &str, request_id: &str) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).await.unwrap();
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: sample.test\r\nX-Backend-Request-ID: {request_id}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    }

    async fn logged(&mut self) -> String {
        timeout(Duration::from_secs(30), self.log.next_line())
            .await
            .unwrap()
            .unwrap()
            .unwrap()
    }
}

#[tokio::test]
async fn each_log_line_has_the_request_id() {
    let mut sample = Sample::start().await;
    let _open = sample.send("/hello", "one").await;
    let line = sample.logged().await;
    assert!(line.contains("[one] GET /hello -> 200"), "{line}");
    let _open = sample.send("/nowhere?secret=1", "two").await;
    let line = sample.logged().await;
    assert!(line.contains("[two] GET /nowhere -> 404"), "{line}");
}

#[tokio::test]
async fn event_stream_ends_when_its_client_goes_away() {
    let mut sample = Sample::start().await;
    let mut client = sample.send("/events?ms=10", "three").await;
    let mut begun = [0; 64];
    client.read_exact(&mut begun).await.unwrap();
    drop(client);
    let lines = [
        sample.logged().await,
        sample.logged().await,
        sample.logged().await,
    ];
    assert!(
        lines.iter().all(|line| line.contains("[three]")),
        "{lines:?}"
    );
    assert!(lines[2].contains("event stream closed"), "{lines:?}");
}
