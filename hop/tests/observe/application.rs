//! An application that streams.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Size of the large WebSocket messages, in bytes.
pub(crate) const MEBIBYTE: usize = 1 << 20;

/// Starts the application, and returns its address.
pub(crate) async fn start() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            tokio::spawn(serve(connection));
        }
    });
    address
}

/// The pieces of a streamed body: of odd lengths, that divide lines, events and characters.
pub(crate) fn pieces() -> Vec<Vec<u8>> {
    let text = "data: \u{e4}\u{1f600} one\n\ndata: two\n\n".repeat(400);
    let (mut rest, mut pieces) = (text.as_bytes(), Vec::new());
    for length in [1, 2, 3, 5, 7, 11, 1000, 1, 4099, 13].iter().cycle() {
        let (piece, after) = rest.split_at((*length).min(rest.len()));
        pieces.push(piece.to_vec());
        rest = after;
        if rest.is_empty() {
            return pieces;
        }
    }
    pieces
}

/// A WebSocket frame; that of a client is masked, with zeros.
pub(crate) fn frame(opcode: u8, payload: &[u8], masked: bool) -> Vec<u8> {
    let mask = if masked { 0x80 } else { 0 };
    let mut frame = vec![0x80 | opcode];
    match payload.len() {
        short @ 0..126 => frame.push(mask | u8::try_from(short).unwrap()),
        long => {
            frame.push(mask | 127);
            frame.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    if masked {
        frame.extend_from_slice(&[0; 4]);
    }
    frame.extend_from_slice(payload);
    frame
}

/// A close frame with the code 1000.
pub(crate) fn close(masked: bool) -> Vec<u8> {
    frame(8, &1000_u16.to_be_bytes(), masked)
}

/// The messages that the application sends on a WebSocket, before its close frame.
pub(crate) fn messages() -> Vec<u8> {
    let large: Vec<u8> = (0..MEBIBYTE).map(|at| (at % 251) as u8).collect();
    [frame(1, b"hello", false), frame(2, &large, false)].concat()
}

async fn serve(mut connection: TcpStream) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match connection.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8(head).unwrap();
    let path = head.split(' ').nth(1).unwrap();
    // A client that is gone ends the connection.
    let _ = match path {
        "/sse" => stream(&mut connection, "text/event-stream").await,
        "/grpc" => stream(&mut connection, "application/grpc").await,
        "/ndjson" => stream(&mut connection, "application/x-ndjson").await,
        "/echo" => echo(&mut connection).await,
        "/endless" => endless(&mut connection).await,
        "/download" => download(&mut connection).await,
        "/silent" => std::future::pending().await,
        "/ws" => websocket(&mut connection).await,
        _ => {
            let id = head
                .lines()
                .find_map(|line| line.strip_prefix("x-backend-request-id: "));
            let body = id.unwrap_or("none");
            let length = body.len();
            let answer = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            );
            connection.write_all(answer.as_bytes()).await
        }
    };
}

async fn begin(connection: &mut TcpStream, media: &str) -> std::io::Result<()> {
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {media}\r\nTransfer-Encoding: chunked\r\n\
         Connection: close\r\n\r\n"
    );
    connection.write_all(head.as_bytes()).await
}

/// Sends a piece as a chunk; none ends the body.
pub(crate) async fn chunk(connection: &mut TcpStream, piece: &[u8]) -> std::io::Result<()> {
    let chunk = [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat();
    connection.write_all(&chunk).await?;
    connection.flush().await
}

async fn stream(connection: &mut TcpStream, media: &str) -> std::io::Result<()> {
    begin(connection, media).await?;
    for piece in pieces() {
        chunk(connection, &piece).await?;
        tokio::task::yield_now().await;
    }
    chunk(connection, b"").await
}

/// Sends the request's chunks back as they come.
async fn echo(connection: &mut TcpStream) -> std::io::Result<()> {
    begin(connection, "application/grpc").await?;
    let (mut last, mut buffer) = (Vec::new(), vec![0; 65536]);
    while !last.ends_with(b"\r\n0\r\n\r\n") {
        let count = connection.read(&mut buffer).await?;
        connection.write_all(&buffer[..count]).await?;
        last.extend_from_slice(&buffer[..count]);
        last.drain(..last.len().saturating_sub(16));
        if count == 0 {
            break;
        }
    }
    Ok(())
}

async fn endless(connection: &mut TcpStream) -> std::io::Result<()> {
    begin(connection, "text/event-stream").await?;
    chunk(connection, b"data: 1\n\n").await?;
    // Until the tier closes the connection.
    connection.read_u8().await.map(|_| ())
}

async fn download(connection: &mut TcpStream) -> std::io::Result<()> {
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        2 * MEBIBYTE
    );
    connection.write_all(head.as_bytes()).await?;
    connection.write_all(&vec![b'x'; 2 * MEBIBYTE]).await
}

/// Sends its messages at once, right behind the handshake, and answers the client's close frame,
/// which is the last thing that the client sends.
async fn websocket(connection: &mut TcpStream) -> std::io::Result<()> {
    let (mut reader, mut writer) = connection.split();
    let head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    let begin = [head.as_bytes(), &messages()].concat();
    let read = async {
        let (mut all, mut buffer) = (Vec::new(), vec![0; 65536]);
        while !all.ends_with(&close(true)) {
            match reader.read(&mut buffer).await? {
                0 => break,
                count => all.extend_from_slice(&buffer[..count]),
            }
        }
        Ok(())
    };
    tokio::try_join!(writer.write_all(&begin), read)?;
    writer.write_all(&close(false)).await
}
