//! Interim responses (1xx): which of them reach the client, and with which headers.

use app_proxy_tests::cluster::Cluster;
use app_proxy_tests::http1::{Client, Headers};
use app_proxy_tests::raw_app::Reply;

use super::support::{Journal, assert_problem, raw_head, request, send, start_default};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

/// Headers that a client or a proxy in front must not find in an interim response: they frame a
/// message, belong to a connection, or are the proxy's.
const FORBIDDEN: &str = "Content-Length: 0\r\nConnection: close, \
    X-Private\r\nKeep-Alive: timeout=1\r\nUpgrade: h2c\r\nProxy-Connection: close\r\nTE: trailers\
    \r\nTrailer: X-T\r\nX-Private: 1\r\nProxy-Authenticate: Basic\r\nSet-Cookie: a=b; Path=/\r\n\
    Set-Cookie: app_proxy_session=evil.mac; Path=/\r\nset-cookie: c=caf\u{e9}\r\n\
    X-Backend-Session: evil\r\nX-Backend-Request-ID: evil\r\nX_Backend_User: evil\r\n\
    X-App-Proxy-Token: evil\r\nX.App.Proxy.Refused: evil\r\nX-App-Proxy-Refused: 1\r\n";

fn interim(status: u16, lines: &str) -> String {
    format!("HTTP/1.1 {status} Interim\r\n{lines}\r\n")
}

/// Reads the heads of a response up to the final one, which must be [`OK`].
async fn heads(client: &mut Client) -> Vec<Headers> {
    let answer = client.read_response("GET").await;
    assert_eq!((answer.status, &answer.text()[..]), (200, "hello"));
    answer
        .interim
        .into_iter()
        .map(|head| head.headers)
        .collect()
}

async fn ask(cluster: &Cluster, id: &str) -> Client {
    let mut client = cluster.client().await;
    client
        .send(request("GET", "/apps/user/x", id, "", ""))
        .await;
    client
}

#[tokio::test]
async fn an_interim_response_keeps_hints_and_nothing_that_frames_or_belongs_to_the_final_one() {
    let (app, cluster) = start_default().await;
    let mut journal = Journal::default();
    for status in [102, 103, 104, 150, 199] {
        let link = "Link: </style.css>; rel=preload\r\n";
        let hints = interim(
            status,
            &format!("{link}{FORBIDDEN}X-Hint: caf\u{e9}\r\n{link}"),
        );
        app.reply("/x", Reply::new(format!("{hints}{OK}")));
        let id = format!("hints-{status}");
        let mut client = ask(&cluster, &id).await;
        let found = heads(&mut client).await;
        assert_eq!(found.len(), 1, "{status}");
        let headers = &found[0];
        assert_eq!(headers.all("Link").len(), 2, "{headers:?}");
        assert_eq!(headers.get("X-Hint"), Some("caf\u{e9}"), "{headers:?}");
        for name in headers.names() {
            let name = name.to_ascii_lowercase();
            assert!(
                ["link", "x-hint", "date"].contains(&&name[..]),
                "{headers:?}"
            );
        }
        journal.passed(&id, 200);
    }
    journal.check(&cluster).await;
}

#[tokio::test]
async fn each_forbidden_header_alone_is_removed_too() {
    let (app, cluster) = start_default().await;
    for line in FORBIDDEN.split_inclusive("\r\n") {
        app.reply("/x", Reply::new(format!("{}{OK}", interim(103, line))));
        let mut client = ask(&cluster, "alone").await;
        for headers in heads(&mut client).await {
            for name in headers.names() {
                let is_private = name.eq_ignore_ascii_case("x-private");
                assert!(
                    is_private || name.eq_ignore_ascii_case("date"),
                    "{line}: {headers:?}"
                );
            }
        }
    }
}

#[tokio::test]
async fn an_interim_response_does_not_move_the_boundary_between_two_responses() {
    let (app, cluster) = start_default().await;
    let mut journal = Journal::default();
    // A proxy in front takes the head of the 103 for a whole response if it has a length.
    for (n, lines) in [
        "Content-Length: 0\r\n",
        "Content-Length: 5\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Connection: close\r\n",
    ]
    .into_iter()
    .enumerate()
    {
        let gate = format!("final-{n}");
        let evil = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL";
        let reply = Reply::new(interim(103, lines)).wait(&gate).send(evil);
        app.reply("/x", reply);
        app.reply("/y", Reply::ok("honest"));
        let mut client = cluster.client().await;
        let ids = [format!("first-{n}"), format!("second-{n}")];
        let bytes = [
            request("GET", "/apps/raw/x", &ids[0], "", ""),
            request("GET", "/apps/raw/y", &ids[1], "", ""),
        ];
        client.send(bytes.concat()).await;
        let head = raw_head(&mut client).await;
        assert!(
            head.starts_with(b"HTTP/1.1 103 "),
            "{}",
            head.escape_ascii()
        );
        assert!(client.wire.buffered().is_empty(), "{lines}");
        app.release(&gate, 1);
        for (id, body) in ids.iter().zip(["EVIL", "honest"]) {
            let answer = client.read_response("GET").await;
            assert_eq!((answer.status, &answer.text()[..]), (200, body), "{lines}");
            assert_eq!(&answer.request_id(), id);
            journal.passed(id, 200);
        }
        app.assert_strict();
    }
    journal.check(&cluster).await;
}

#[tokio::test]
async fn a_100_passes_only_to_a_client_that_waits_for_it() {
    let (app, cluster) = start_default().await;
    let mut journal = Journal::default();
    let again = interim(100, "");
    app.reply(
        "/x",
        Reply::early(format!("{again}{again}")).read_body().send(OK),
    );
    for (id, method, lines, body, passes) in [
        ("unasked-get", "GET", "", "", false),
        ("unasked-post", "POST", "Content-Length: 2\r\n", "hi", false),
        ("without-body", "GET", "Expect: 100-continue\r\n", "", false),
        (
            "empty-body",
            "POST",
            "Expect: 100-continue\r\nContent-Length: 0\r\n",
            "",
            false,
        ),
        (
            "asked",
            "POST",
            "Expect: 100-Continue\r\nContent-Length: 2\r\n",
            "",
            true,
        ),
    ] {
        let mut client = cluster.client().await;
        client
            .send(request(method, "/apps/raw/x", id, lines, body))
            .await;
        if passes {
            let head = raw_head(&mut client).await;
            assert!(
                head.starts_with(b"HTTP/1.1 100 "),
                "{}",
                head.escape_ascii()
            );
            client.send("hi").await;
        }
        let answer = client.read_response(method).await;
        assert_eq!(
            (answer.status, answer.interim.len()),
            (200, 0),
            "{id}: {answer:?}"
        );
        journal.passed(id, 200);
    }
    let seen = app.only("asked");
    assert_eq!((&seen.body[..], seen.whole), (&b"hi"[..], true));
    journal.check(&cluster).await;
}

#[tokio::test]
async fn a_client_of_http_1_0_gets_the_final_response_alone() {
    let (app, cluster) = start_default().await;
    let hints = interim(103, "Link: </a>\r\n");
    app.reply(
        "/x",
        Reply::early(format!("{}{hints}{}", interim(100, ""), interim(102, "")))
            .read_body()
            .send(OK),
    );
    for (n, lines) in ["", "Connection: keep-alive\r\n", "Expect: 100-continue\r\n"]
        .into_iter()
        .enumerate()
    {
        let id = format!("old-{n}");
        let bytes = format!(
            "POST /apps/raw/x HTTP/1.0\r\nHost: h.example\r\nX-Backend-Request-ID: {id}\r\n\
             {lines}Content-Length: 2\r\n\r\nhi"
        );
        let (answer, _) = send(&cluster, bytes).await;
        assert_eq!(
            (answer.status, &answer.text()[..]),
            (200, "hello"),
            "{lines}"
        );
        assert!(answer.interim.is_empty(), "{lines}: {answer:?}");
        assert_eq!(app.only(&id).body, b"hi");
    }
}

#[tokio::test]
async fn interim_responses_pass_up_to_a_number() {
    let (app, cluster) = start_default().await;
    let mut journal = Journal::default();
    for (id, count, status) in [
        ("some", 32, 200),
        ("many", 33, 502),
        ("endless", 5_000, 502),
    ] {
        app.reply("/x", Reply::new(interim(103, "").repeat(count) + OK));
        let (answer, _) = send(&cluster, request("GET", "/apps/raw/x", id, "", "")).await;
        assert_eq!(answer.status, status, "{count}");
        assert!(answer.interim.len() <= 32, "{}", answer.interim.len());
        if status == 200 {
            assert_eq!(answer.interim.len(), 32);
            journal.passed(id, 200);
        } else {
            assert_problem(&answer, 502, "bad_upstream_response", id);
            journal.failed(id, 502, "bad_upstream_response");
        }
    }
    journal.check(&cluster).await;
}

#[tokio::test]
async fn an_unasked_101_is_a_bad_response() {
    let (app, cluster) = start_default().await;
    let mut journal = Journal::default();
    let switches = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\
        \r\n\r\n";
    app.reply("/x", Reply::new(format!("{switches}{OK}")));
    for (id, lines) in [
        ("unasked", ""),
        ("another", "Connection: Upgrade\r\nUpgrade: tcp\r\n"),
        (
            "old-h2c",
            "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n",
        ),
    ] {
        let (answer, _) = send(&cluster, request("GET", "/apps/raw/x", id, lines, "")).await;
        assert_problem(&answer, 502, "bad_upstream_response", id);
        journal.failed(id, 502, "bad_upstream_response");
    }
    journal.check(&cluster).await;
}

#[tokio::test]
async fn hints_pass_while_the_final_response_is_held() {
    let (app, cluster) = start_default().await;
    let hint = |n| interim(103, &format!("Link: </{n}>\r\n"));
    let reply = Reply::new(hint(1))
        .wait("hint")
        .send(hint(2))
        .wait("hint")
        .send(OK);
    app.reply("/x", reply);
    let mut client = ask(&cluster, "held").await;
    for n in [1, 2] {
        let head = raw_head(&mut client).await;
        let text = String::from_utf8_lossy(&head).into_owned();
        assert!(text.contains(&format!("</{n}>")), "{text}");
        assert!(client.wire.buffered().is_empty());
        app.release("hint", 1);
    }
    assert!(heads(&mut client).await.is_empty());
}
