//! Response heads: status lines and bytes of header values.

use app_proxy_tests::raw_app::Reply;

use super::responses::{ask, assert_cause};
use super::support::{Journal, assert_problem, raw_head, start_default};

#[tokio::test]
async fn bytes_of_header_values_pass_or_make_a_bad_response() {
    let (app, mut cluster) = start_default().await;
    let mut journal = Journal::default();
    for (n, value) in [
        &b"caf\xe9"[..],
        b"\x80\xff",
        b"\xe6\x97\xa5",
        b"a\tb",
        b"\"<>{}\\^`|",
        b"",
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("value-{n}");
        let bytes = [
            &b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Value: "[..],
            value,
            b"\r\n\r\nok",
        ]
        .concat();
        let mut client = ask(&app, &cluster, "GET", &id, Reply::new(bytes)).await;
        let head = raw_head(&mut client).await;
        let line = [b"\r\nX-Value: ", value, b"\r\n"].concat();
        let passes = head.windows(line.len()).any(|window| window == line);
        assert!(passes, "{}: {}", value.escape_ascii(), head.escape_ascii());
        journal.passed(&id, 200);
    }
    let controls = (0..0x20_u8)
        .chain([0x7f])
        .filter(|byte| !matches!(byte, b'\t' | b'\n'));
    let mut bad: Vec<Vec<u8>> = controls
        .map(|control| [b"X-Value: a", &[control][..], b"b\r\n"].concat())
        .collect();
    bad.extend(
        [
            "X-Value: a\nb: c\r\n",
            "X-Value : a\r\n",
            "X Value: a\r\n",
            "X-Value\r\n",
            ": a\r\n",
            "X-Value: a\r\n b\r\n",
            "X\u{e9}: a\r\n",
        ]
        .map(|line| line.as_bytes().to_vec()),
    );
    for (n, line) in bad.iter().enumerate() {
        let id = format!("bad-value-{n}");
        println!("{id}: {}", line.escape_ascii());
        let start = &b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"[..];
        let bytes = [start, line, b"\r\nok"].concat();
        let mut client = ask(&app, &cluster, "GET", &id, Reply::new(bytes)).await;
        let answer = client.read_response("GET").await;
        assert_problem(&answer, 502, "bad_upstream_response", &id);
        journal.failed(&id, 502, "bad_upstream_response");
        assert_cause(&mut cluster, &id).await;
    }
    journal.check(&cluster).await;
}

#[tokio::test]
async fn a_status_line_that_is_none_is_a_bad_response() {
    let (app, cluster) = start_default().await;
    let mut journal = Journal::default();
    for (n, line) in [
        "HTTP/1.1 20 OK",
        "HTTP/1.1 2000 OK",
        "HTTP/1.1 099 OK",
        "HTTP/1.1 2x0 OK",
        "HTTP/1.1  200 OK",
        "HTTP/1.1",
        "HTTP/1.1 ",
        "HTTP/2.0 200 OK",
        "http/1.1 200 OK",
        "ICY 200 OK",
        " HTTP/1.1 200 OK",
        "HTTP/1.1\t200 OK",
        "HTTP/1.1 200 O\u{1}K",
        "hello",
        "",
        "\r\nHTTP/1.1 200 OK",
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("status-{n}");
        println!("{id}: {line:?}");
        let bytes = format!("{line}\r\nContent-Length: 2\r\n\r\nok");
        let mut client = ask(&app, &cluster, "GET", &id, Reply::new(bytes)).await;
        let answer = client.read_response("GET").await;
        assert_problem(&answer, 502, "bad_upstream_response", &id);
        journal.failed(&id, 502, "bad_upstream_response");
    }
    for (n, line) in [
        "HTTP/1.1 200",
        "HTTP/1.1 200 ",
        "HTTP/1.0 200 OK",
        "HTTP/1.2 200 OK",
        "HTTP/1.1 200 caf\u{e9} au lait",
        "HTTP/1.1 299 Strange",
        "HTTP/1.1 999 Stranger",
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("good-status-{n}");
        println!("{id}: {line:?}");
        let bytes = format!("{line}\r\nContent-Length: 2\r\n\r\nok");
        let mut client = ask(&app, &cluster, "GET", &id, Reply::new(bytes)).await;
        let answer = client.read_response("GET").await;
        assert_eq!(answer.text(), "ok", "{line:?}");
        journal.passed(&id, answer.status);
    }
    journal.check(&cluster).await;
}
