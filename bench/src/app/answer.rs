//! The responses of the application.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::echo;
use super::request::{Request, parse};
use crate::client::chunked::Chunked;
use crate::monotonic_ns;

/// The time between two events of a stream.
const EVERY: Duration = Duration::from_millis(100);

/// The bytes of a large body that are written or read at once.
const BLOCK: usize = 256 << 10;

/// Serves one connection to its end.
pub(super) async fn connection(mut stream: TcpStream) {
    // The peer sees the closed connection.
    let _ = serve(&mut stream).await;
}

async fn serve(stream: &mut TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; 16 << 10];
    let mut end = 0;
    loop {
        let read = stream
            .read(buffer.get_mut(end..).unwrap_or_default())
            .await?;
        if read == 0 {
            return Ok(());
        }
        end += read;
        while let Some((length, request)) =
            parse(buffer.get(..end).unwrap_or_default()).map_err(io::Error::other)?
        {
            buffer.copy_within(length..end, 0);
            end -= length;
            if request.key.is_some() {
                return echo::serve(stream, &request).await;
            }
            if request.length > 0 || request.chunked {
                let early = buffer.get(..end).unwrap_or_default();
                upload(stream, &request, early).await?;
                end = 0;
            } else {
                answer(stream, &request).await?;
            }
            if request.close {
                return stream.shutdown().await;
            }
        }
    }
}

async fn answer(stream: &mut TcpStream, request: &Request) -> io::Result<()> {
    match request.path.as_str() {
        "/1k" => bytes(stream, 1 << 10).await,
        "/64k" => bytes(stream, 64 << 10).await,
        "/id" => {
            body(
                stream,
                "200 OK",
                request.id.as_deref().unwrap_or("none").as_bytes(),
            )
            .await
        }
        "/sse" => events(stream).await,
        "/wait" => wait(stream).await,
        path => match path
            .strip_prefix("/bytes/")
            .and_then(|length| length.parse().ok())
        {
            Some(length) => bytes(stream, length).await,
            None => body(stream, "404 Not Found", b"no such path").await,
        },
    }
}

fn head(status: &str, length: u64) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/octet-stream\r\n\
         Content-Length: {length}\r\n\r\n"
    )
    .into_bytes()
}

async fn body(stream: &mut TcpStream, status: &str, body: &[u8]) -> io::Result<()> {
    let mut answer = head(status, body.len() as u64);
    answer.extend_from_slice(body);
    stream.write_all(&answer).await
}

async fn bytes(stream: &mut TcpStream, length: u64) -> io::Result<()> {
    let mut answer = head("200 OK", length);
    let first = usize::try_from(length).unwrap_or(usize::MAX).min(BLOCK);
    let start = answer.len();
    answer.resize(start + first, b'x');
    stream.write_all(&answer).await?;
    let mut left = length - first as u64;
    while left > 0 {
        let here = usize::try_from(left).unwrap_or(usize::MAX).min(BLOCK);
        let block = answer.get(start..start + here).unwrap_or_default();
        stream.write_all(block).await?;
        left -= here as u64;
    }
    Ok(())
}

/// Reads a body, of which some is there already, and answers its length.
async fn upload(stream: &mut TcpStream, request: &Request, early: &[u8]) -> io::Result<()> {
    let mut taken = early.len() as u64;
    // A small body is there with its head, and needs no block.
    let left = request.length.saturating_sub(taken);
    let room = usize::try_from(left).unwrap_or(BLOCK).min(BLOCK);
    let mut buffer = vec![0; if request.chunked { BLOCK } else { room }];
    if request.chunked {
        let (mut decoder, mut out) = (Chunked::default(), Vec::new());
        let mut more = decoder.decode(early, &mut out).map_err(io::Error::other)?;
        taken = out.len() as u64;
        while more {
            out.clear();
            let read = some(stream, &mut buffer).await?;
            more = decoder
                .decode(buffer.get(..read).unwrap_or_default(), &mut out)
                .map_err(io::Error::other)?;
            taken += out.len() as u64;
        }
    }
    while taken < request.length {
        taken += some(stream, &mut buffer).await? as u64;
    }
    body(stream, "200 OK", format!("{taken:020}").as_bytes()).await
}

/// Answers nothing until the peer closes the connection.
async fn wait(stream: &mut TcpStream) -> io::Result<()> {
    some(stream, &mut [0]).await?;
    Err(io::Error::other("bytes behind a request that waits"))
}

async fn some(stream: &mut TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    match stream.read(buffer).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        read => Ok(read),
    }
}

/// Sends events until the client disconnects.
async fn events(stream: &mut TcpStream) -> io::Result<()> {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n\
                Transfer-Encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await?;
    // Streams that are opened together do not send together.
    let phase =
        Duration::from_nanos(monotonic_ns().wrapping_mul(0x9e37_79b9_7f4a_7c15) % 100_000_000);
    let mut clock = interval_at(Instant::now() + phase, EVERY);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut ignored = [0; 64];
    loop {
        tokio::select! {
            _ = clock.tick() => {
                let event = format!("data: {{\"sent\":{}}}\n\n", monotonic_ns());
                stream.write_all(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes()).await?;
            }
            read = stream.read(&mut ignored) => {
                if read? == 0 {
                    return Ok(());
                }
            }
        }
    }
}
