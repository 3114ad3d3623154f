//! The next hop: a socket whose bytes each test reads and writes itself.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

use super::within;

/// A next hop that accepts connections, at a Unix socket: the bytes that its buffers hold are
/// always the same, so that a test can tell what was read.
pub(crate) struct Upstream {
    listener: UnixListener,
    path: PathBuf,
}

impl Drop for Upstream {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Upstream {
    pub(crate) fn bind() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("app-proxy-engine-{}-{number}.sock", std::process::id());
        let path = std::env::temp_dir().join(name);
        let listener = UnixListener::bind(&path).unwrap();
        Self { listener, path }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Accepts the next connection.
    pub(crate) async fn accept(&self) -> Hop {
        let (stream, _) = within("a connection to the next hop", self.listener.accept())
            .await
            .unwrap();
        Hop {
            stream,
            received: Vec::new(),
        }
    }

    /// Answers all requests with `response`, which closes the connection or has a length.
    pub(crate) fn answer(self, response: &'static [u8]) {
        tokio::spawn(async move {
            loop {
                let mut hop = self.accept().await;
                tokio::spawn(async move {
                    while hop.try_head().await.is_some() {
                        hop.write(response).await;
                    }
                });
            }
        });
    }
}

/// A connection to the next hop.
pub(crate) struct Hop {
    pub(crate) stream: UnixStream,
    received: Vec<u8>,
}

impl Hop {
    /// Reads a request head, with its empty line; `None` at the end of the connection.
    pub(crate) async fn try_head(&mut self) -> Option<String> {
        loop {
            let end = self
                .received
                .windows(4)
                .position(|four| four == b"\r\n\r\n");
            if let Some(end) = end {
                let head: Vec<u8> = self.received.drain(..end + 4).collect();
                return Some(String::from_utf8(head).unwrap());
            }
            if self.fill().await == 0 {
                return None;
            }
        }
    }

    pub(crate) async fn head(&mut self) -> String {
        within("a request head", self.try_head()).await.unwrap()
    }

    /// Reads `length` bytes.
    pub(crate) async fn bytes(&mut self, length: usize) -> Vec<u8> {
        while self.received.len() < length {
            let count = within("more of the request body", self.fill()).await;
            assert!(count > 0, "the connection ends after {:?}", self.received);
        }
        self.received.drain(..length).collect()
    }

    /// Reads until the connection ends, and returns the rest.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        while within("the end of the connection", self.fill()).await > 0 {}
        std::mem::take(&mut self.received)
    }

    async fn fill(&mut self) -> usize {
        // A reset is an end too.
        self.stream.read_buf(&mut self.received).await.unwrap_or(0)
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        let _ = within("a write of the response", self.stream.write_all(bytes)).await;
    }
}
