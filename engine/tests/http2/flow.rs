//! Flow control, and what a client that stalls costs.

use std::time::Duration;

use bytes::Bytes;
use h2::client::Builder;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::support::client::{head, read_body, upload};
use crate::support::frames::{HEADERS, SETTINGS, frame, get};
use crate::support::{H2, Hop, RawH2, Server, TestGateway, Upstream, until, within};

/// Writes until nothing is accepted any more, and returns how much was.
async fn fill(hop: &mut Hop) -> usize {
    let piece = [b'd'; 4096];
    let mut written = 0;
    while let Ok(Ok(count)) = timeout(PAUSE, hop.stream.write(&piece)).await {
        written += count;
    }
    written
}

/// Returns how much a connection to the next hop holds that nobody reads.
async fn capacity() -> usize {
    let upstream = Upstream::bind();
    let _unread = UnixStream::connect(upstream.path()).await.unwrap();
    fill(&mut upstream.accept().await).await
}

/// Requests `streams` large responses with windows of 0, and returns how many bytes of each the
/// engine has read at most.
async fn read_without_window(streams: u32) -> usize {
    let upstream = Upstream::bind();
    let server = Server::start(&upstream).await;
    let mut client = RawH2::connect(server.addr).await;
    // SETTINGS_INITIAL_WINDOW_SIZE
    client
        .send(&frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]))
        .await;
    let mut hops = Vec::new();
    for stream in 0..streams {
        client.request(stream * 2 + 1, &get(&[])).await;
        let mut hop = upstream.accept().await;
        hop.head().await;
        hop.write(HEAD).await;
        client.read_until(HEADERS).await.unwrap();
        hops.push(hop);
    }
    let (capacity, mut most) = (capacity().await, 0);
    for hop in &mut hops {
        most = most.max(fill(hop).await.saturating_sub(capacity));
    }
    most
}

const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n";
const PAUSE: Duration = Duration::from_millis(200);

#[tokio::test]
async fn a_stream_without_window_is_not_read_ahead() {
    assert_eq!(read_without_window(10).await, 0);
}

#[tokio::test]
async fn a_head_is_read_with_8_kib_of_its_body_at_most() {
    let upstream = Upstream::bind();
    let server = Server::start(&upstream).await;
    let mut client = RawH2::connect(server.addr).await;
    client
        .send(&frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]))
        .await;
    client.request(1, &get(&[])).await;
    let mut hop = upstream.accept().await;
    hop.head().await;
    let whole = [HEAD, &[b'd'; 100_000]].concat();
    // In writes of one size, which decides how much the socket holds.
    let pieces = whole.chunks_exact(4096);
    let written = pieces.len() * 4096;
    for piece in pieces {
        hop.write(piece).await;
    }
    client.read_until(HEADERS).await.unwrap();
    let read = written + fill(&mut hop).await - capacity().await;
    assert_eq!(read, 8 * 1024);
}

#[tokio::test]
async fn a_stalled_client_is_given_up_after_the_write_timeout() {
    let upstream = Upstream::bind();
    let mut gateway = TestGateway::new(upstream.path());
    gateway.timeouts.write = Duration::from_millis(300);
    let server = Server::with(gateway, None).await;
    let mut builder = Builder::new();
    builder.initial_window_size(1000);
    let client = H2::with(server.addr, &builder).await;
    let (response, _) = client.send(client.request("GET", "/"), true).await;
    let mut hop = upstream.accept().await;
    hop.head().await;
    hop.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n")
        .await;
    hop.write(&[b'x'; 5000]).await;
    let mut response = head(response).await.into_body();
    assert_eq!(response.data().await.unwrap().unwrap().len(), 1000);
    let reset = within("a reset", response.data()).await.unwrap();
    assert!(reset.unwrap_err().is_reset());
    until("the log", || !server.gateway.logged().is_empty()).await;
    let logged = server.gateway.logged().remove(0);
    assert!(logged.error.unwrap().contains("accepts no bytes"));
}

#[tokio::test]
async fn quiet_streams_leave_the_window_of_the_connection_to_others() {
    let upstream = Upstream::bind();
    let server = Server::start(&upstream).await;
    // The window of the connection is 65,535 bytes.
    let client = H2::connect(server.addr).await;
    let mut quiet = Vec::new();
    for _ in 0..20 {
        let (response, _) = client.send(client.request("GET", "/events"), true).await;
        let mut hop = upstream.accept().await;
        hop.head().await;
        hop.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n")
            .await;
        let mut body = head(response).await.into_body();
        assert_eq!(body.data().await.unwrap().unwrap(), "hi");
        quiet.push((body, hop));
    }
    let (response, _) = client.send(client.request("GET", "/large"), true).await;
    let mut hop = upstream.accept().await;
    hop.head().await;
    hop.write(b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n")
        .await;
    let mut body = head(response).await.into_body();
    let reader = tokio::spawn(async move { read_body(&mut body).await.unwrap().len() });
    hop.write(&[b'x'; 300_000]).await;
    assert_eq!(within("the large response", reader).await.unwrap(), 300_000);
    for (body, hop) in &mut quiet {
        hop.write(b"3\r\nyou\r\n").await;
        assert_eq!(body.data().await.unwrap().unwrap(), "you");
    }
}

#[tokio::test]
async fn an_upload_that_the_next_hop_does_not_read_is_not_accepted() {
    let upstream = Upstream::bind();
    let server = Server::start(&upstream).await;
    let client = H2::connect(server.addr).await;
    let (_response, mut body) = client.send(client.request("POST", "/"), false).await;
    let _unread = upstream.accept().await;
    let piece = Bytes::from_static(&[b'u'; 4096]);
    let mut sent = 0;
    while let Ok(Ok(())) = timeout(PAUSE, upload(&mut body, piece.clone())).await {
        sent += piece.len();
    }
    let capacity = capacity().await;
    // The window of the stream, and what was written for the next hop.
    assert!(sent <= capacity + (64 + 32) * 1024, "{sent}, {capacity}");
}

#[tokio::test]
async fn a_connection_that_reads_nothing_ends() {
    let upstream = Upstream::bind();
    let mut gateway = TestGateway::new(upstream.path());
    gateway.timeouts.write = Duration::from_millis(300);
    let server = Server::with(gateway, None).await;
    let mut client = RawH2::connect(server.addr).await;
    // Windows without bounds, and a socket that nobody reads.
    let unbounded = [0, 4, 0x7f, 0xff, 0xff, 0xff];
    client.send(&frame(SETTINGS, 0, 0, &unbounded)).await;
    let most = (0x7fff_ffff_u32 - 65_535).to_be_bytes();
    client.send(&frame(8, 0, 0, &most)).await;
    client.request(1, &get(&[])).await;
    let mut hop = upstream.accept().await;
    hop.head().await;
    hop.write(HEAD).await;
    fill(&mut hop).await;
    // The connection to the next hop is closed, too.
    within("the end of the exchange", async {
        while hop.stream.write(&[b'x'; 4096]).await.is_ok() {}
    })
    .await;
    until("the log", || !server.gateway.logged().is_empty()).await;
}
