//! The features that a chain needs for the comparison: a request ID from the first tier to the
//! application and back, and in both access logs.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::REQUEST_ID;
use crate::client::{Connection, Request, Visitor};

/// The maximum time until a line is in the file.
const PATIENCE: Duration = Duration::from_secs(5);

/// Sends a request without an ID and one with it, and follows both.
pub(super) async fn check(entry: SocketAddr, visitor: &Visitor, logs: &[PathBuf]) -> Result<()> {
    let made = identity(entry, Request::get(visitor, "/id")).await?;
    let mine = format!("bench-check-{}", crate::monotonic_ns());
    let kept = identity(entry, Request::get(visitor, "/id").id(&mine)).await?;
    ensure!(kept == mine, "the request ID {mine} has become {kept}");
    for log in logs {
        for id in [&made, &mine] {
            logged(log, id).await?;
        }
    }
    Ok(())
}

/// The ID of a request, which the application and the client must both have got.
async fn identity(entry: SocketAddr, request: Request) -> Result<String> {
    let mut connection = Connection::open(entry).await?;
    connection.send(&request.into_bytes()).await?;
    let mut returned = Vec::new();
    let head = connection
        .head(|name, value| {
            if name.eq_ignore_ascii_case(REQUEST_ID) {
                returned.push(String::from_utf8_lossy(value).into_owned());
            }
        })
        .await?;
    ensure!(head.status == 200, "status {}", head.status);
    let length = usize::try_from(head.length.context("no Content-Length")?)?;
    let arrived = connection.at_least(length).await?;
    let arrived = String::from_utf8_lossy(arrived.get(..length).unwrap_or_default()).into_owned();
    ensure!(
        returned == [arrived.clone()],
        "the application got the request ID {arrived:?}, and the client {returned:?}"
    );
    Ok(arrived)
}

async fn logged(log: &PathBuf, id: &str) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let text = fs::read_to_string(log).with_context(|| log.display().to_string())?;
        if text.contains(id) {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("{} has no line with the request ID {id}", log.display());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
