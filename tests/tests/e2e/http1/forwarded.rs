//! The client as applications see it, with a trusted proxy in front, and without one.

use app_proxy_tests::cluster::Cluster;
use app_proxy_tests::raw_app::{RawApp, RawRequest, Reply};
use serde_json::json;

use super::support::{request, send, start, start_default};

async fn start_trusting() -> (RawApp, Cluster) {
    let trusted = json!({"trusted_proxies": ["127.0.0.1/32", "10.0.0.0/8", "2001:db8:1::/48"]});
    start(|builder| builder.coordinator(&trusted)).await
}

/// The request that the application gets for one with these header lines.
async fn seen(app: &RawApp, cluster: &Cluster, id: &str, lines: &str) -> RawRequest {
    let (answer, _) = send(cluster, request("GET", "/apps/user/x", id, lines, "")).await;
    assert_eq!(answer.status, 200, "{lines}: {}", answer.text());
    app.only(id)
}

fn first(list: Option<String>) -> String {
    let list = list.unwrap_or_default();
    list.split(',').next().unwrap_or_default().trim().to_owned()
}

#[tokio::test]
async fn the_schemes_of_websockets_are_those_of_http() {
    let (app, cluster) = start_trusting().await;
    for (n, (said, expected)) in [
        ("https", "https"),
        ("HTTPS", "https"),
        ("wss", "https"),
        ("WSS", "https"),
        ("Wss", "https"),
        ("wss, http", "https"),
        ("http", "http"),
        ("ws", "http"),
        ("WS", "http"),
        ("ws, https", "http"),
        ("ftp", "http"),
        ("", "http"),
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("scheme-{n}");
        let lines = format!("X-Forwarded-Proto: {said}\r\n");
        let (answer, _) = send(&cluster, request("GET", "/apps/user/x", &id, &lines, "")).await;
        let request = app.only(&id);
        assert_eq!(
            request.value("X-Forwarded-Proto").as_deref(),
            Some(expected),
            "{said}"
        );
        let forwarded = request.values("Forwarded").join(&b", "[..]);
        let forwarded = String::from_utf8(forwarded).unwrap();
        assert!(
            forwarded.ends_with(&format!("proto={expected}")),
            "{said}: {forwarded}"
        );
        let cookie = answer.session_set_cookie().expect("a session").to_owned();
        assert_eq!(
            cookie.contains("; Secure"),
            expected == "https",
            "{said}: {cookie}"
        );
    }
}

#[tokio::test]
async fn the_scheme_of_a_websocket_reaches_the_application_in_its_handshake() {
    let (app, cluster) = start_trusting().await;
    let key = "dGhlIHNhbXBsZSBub25jZQ==";
    let accept = app_proxy_tests::ws::accept_for(key);
    app.reply(
        "/ws",
        Reply::new(format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Accept: {accept}\r\n\r\n"
        ))
        .close(),
    );
    let lines = format!(
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: {key}\r\nX-Forwarded-Proto: wss\r\n"
    );
    let mut client = cluster.client().await;
    client
        .send(request("GET", "/apps/user/ws", "ws", &lines, ""))
        .await;
    let head = client.read_head().await;
    assert_eq!(head.status(), 101);
    assert_eq!(
        app.only("ws").value("X-Forwarded-Proto").as_deref(),
        Some("https")
    );
    let cookie = head.headers.get("Set-Cookie").unwrap_or_default();
    assert!(cookie.contains("; Secure"), "{head:?}");
}

#[tokio::test]
async fn forwarded_alone_is_believed_of_a_trusted_proxy() {
    let (app, cluster) = start_trusting().await;
    for (n, (lines, client, proto, host)) in [
        (
            "Forwarded: for=\"[2001:db8::7]:4711\";proto=https;host=pub.example\r\n",
            "2001:db8::7",
            "https",
            "pub.example",
        ),
        (
            "forwarded: For=192.0.2.60; Proto=HTTPS; Host=Pub.Example\r\n",
            "192.0.2.60",
            "https",
            "Pub.Example",
        ),
        (
            "Forwarded: for=\"192.0.2.60:4711\";proto=wss;host=\"pub.example:8443\"\r\n",
            "192.0.2.60",
            "https",
            "pub.example:8443",
        ),
        // The proxies in between are trusted; before the client, anything can be forged.
        (
            "Forwarded: for=6.6.6.6;proto=http;host=evil.example, \
             for=192.0.2.60;proto=https;host=pub.example, for=10.1.2.3\r\n",
            "192.0.2.60",
            "https",
            "pub.example",
        ),
        (
            "Forwarded: for=192.0.2.60;proto=https;host=pub.example\r\n\
             Forwarded: for=10.1.2.3;proto=http;host=inner.example\r\n",
            "192.0.2.60",
            "https",
            "pub.example",
        ),
        (
            "Forwarded: for=192.0.2.60\r\n",
            "192.0.2.60",
            "http",
            "h.example",
        ),
        (
            "Forwarded: proto=https\r\n",
            "127.0.0.1",
            "https",
            "h.example",
        ),
        (
            "Forwarded: host=pub.example\r\n",
            "127.0.0.1",
            "http",
            "pub.example",
        ),
        // Those who hide are not the client.
        (
            "Forwarded: for=unknown;proto=https\r\n",
            "127.0.0.1",
            "https",
            "h.example",
        ),
        (
            "Forwarded: for=\"_hidden\"\r\n",
            "127.0.0.1",
            "http",
            "h.example",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("alone-{n}");
        let request = seen(&app, &cluster, &id, lines).await;
        println!("{id}: {}", request.head.escape_ascii());
        let chain = request.value("X-Forwarded-For").unwrap_or_default();
        assert!(chain.split(", ").any(|ip| ip == client), "{lines}: {chain}");
        assert_eq!(
            request.value("X-Forwarded-Proto").as_deref(),
            Some(proto),
            "{lines}"
        );
        assert_eq!(
            request.value("X-Forwarded-Host").as_deref(),
            Some(host),
            "{lines}"
        );
        assert_eq!(request.values("Forwarded").len(), 1, "{lines}");
        for log in [cluster.coordinator_log(), cluster.worker_log(0)] {
            assert_eq!(log.request(&id).await["client"], client, "{lines}");
        }
    }
}

#[tokio::test]
async fn an_invalid_forwarded_says_nothing() {
    let (app, cluster) = start_trusting().await;
    for (n, value) in [
        "for=\"192.0.2.60",
        "for",
        "192.0.2.60",
        "=192.0.2.60",
        "for=192.0.2.60;for=192.0.2.61",
        "proto=https;proto=https",
        "for=192.0.2.60;host=\"a b\"",
        "for=999.999.999.999",
        "for=192.0.2.60 evil",
        "",
        ",;,",
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("invalid-{n}");
        let request = seen(&app, &cluster, &id, &format!("Forwarded: {value}\r\n")).await;
        let host = request.value("X-Forwarded-Host");
        assert_eq!(host.as_deref(), Some("h.example"), "{value}");
        let client = first(request.value("X-Forwarded-For"));
        let believed = value.starts_with("for=192.0.2.60;host");
        assert!(client == "127.0.0.1" || believed, "{value}: {client}");
        assert_eq!(
            request.value("X-Forwarded-Proto").as_deref(),
            Some("http"),
            "{value}"
        );
    }
}

#[tokio::test]
async fn x_forwarded_headers_are_believed_before_forwarded() {
    let (app, cluster) = start_trusting().await;
    let lines = "X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: https\r\n\
        Forwarded: for=192.0.2.2;proto=http;host=other.example\r\n";
    let request = seen(&app, &cluster, "both", lines).await;
    assert_eq!(first(request.value("X-Forwarded-For")), "192.0.2.1");
    assert_eq!(request.value("X-Forwarded-Proto").as_deref(), Some("https"));
    assert_eq!(
        request.value("X-Forwarded-Host").as_deref(),
        Some("h.example")
    );
}

#[tokio::test]
async fn neither_is_believed_of_a_stranger() {
    let (app, cluster) = start_default().await;
    let lines = "X-Forwarded-Proto: wss\r\nX-Forwarded-For: 192.0.2.1\r\n\
        Forwarded: for=192.0.2.2;proto=https;host=evil.example\r\n\
        X-Forwarded-Host: evil.example\r\nX-Forwarded-Port: 6666\r\n";
    for (id, lines) in [
        ("both", lines),
        (
            "alone",
            "Forwarded: for=192.0.2.2;proto=https;host=evil.example\r\n",
        ),
    ] {
        let request = seen(&app, &cluster, id, lines).await;
        let text = String::from_utf8_lossy(&request.head).into_owned();
        for forged in ["192.0.2", "evil", "wss", "https", "6666"] {
            assert!(!text.contains(forged), "{forged}: {text}");
        }
        assert_eq!(
            request.value("X-Forwarded-For").as_deref(),
            Some("127.0.0.1")
        );
        assert_eq!(request.value("X-Forwarded-Proto").as_deref(), Some("http"));
    }
}
