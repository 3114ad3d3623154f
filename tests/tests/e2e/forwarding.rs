//! Forwarding: the parts of a request that reach the application, the parts of a response that
//! reach the client, and those that must not.

use app_proxy_tests::app::{RecordingApp, SeenRequest, raw, respond};
use app_proxy_tests::cluster::Cluster;
use app_proxy_tests::http1::Response;
use app_proxy_tests::{Checksum, SESSION, SESSION_COOKIE, pattern};
use bytes::Bytes;
use serde_json::json;

use crate::{session_id, start, start_default};

/// The response of the application behind `app` to a request for this response.
async fn asked(cluster: &Cluster, app: &str, status: u16, headers: &[(&str, &str)]) -> Response {
    let target = format!("/apps/{app}{}", respond(status, headers, "body"));
    cluster.get(&target).send().await
}

fn folded(seen: &SeenRequest) -> Vec<String> {
    seen.headers
        .names()
        .map(|name| name.to_ascii_lowercase().replace(['_', '.'], "-"))
        .collect()
}

#[tokio::test]
async fn forwarded_headers_are_rebuilt_for_an_untrusted_client() {
    let (app, cluster) = start_default().await;
    cluster
        .get("/apps/notes/echo")
        .header("X-Forwarded-For", "203.0.113.7")
        .header("X-Forwarded-For", "203.0.113.8")
        .header("X-Forwarded-Proto", "https")
        .header("X-Forwarded-Host", "evil.example")
        .header("X-Forwarded-Port", "443")
        .header("X-Forwarded-Prefix", "/evil")
        .header("Forwarded", "for=203.0.113.7;proto=https;host=evil.example")
        .send()
        .await;
    let seen = app.last();
    let public = cluster.public().to_string();
    assert_eq!(seen.headers.all("X-Forwarded-For"), ["127.0.0.1"]);
    assert_eq!(seen.headers.all("X-Forwarded-Proto"), ["http"]);
    assert_eq!(seen.headers.all("X-Forwarded-Host"), [public.as_str()]);
    let port = cluster.public().port().to_string();
    assert_eq!(seen.headers.all("X-Forwarded-Port"), [port.as_str()]);
    assert_eq!(seen.headers.all("X-Forwarded-Prefix"), ["/apps/notes"]);
    let forwarded = seen.headers.all("Forwarded");
    assert_eq!(forwarded.len(), 1);
    assert!(forwarded[0].contains("127.0.0.1"), "{forwarded:?}");
    assert!(forwarded[0].contains("proto=http"), "{forwarded:?}");
    assert!(
        !forwarded[0].contains("evil") && !forwarded[0].contains("203.0.113"),
        "{forwarded:?}"
    );
}

#[tokio::test]
async fn forwarded_headers_of_a_trusted_proxy_are_kept() {
    let (app, cluster) =
        start(|builder| builder.coordinator(&json!({"trusted_proxies": ["127.0.0.1/32"]}))).await;
    let request = || {
        cluster
            .get("/apps/notes/echo")
            .header("X-Forwarded-For", "203.0.113.7")
            .header("X-Forwarded-Proto", "https")
            .header("X-Forwarded-Host", "edge.example")
            .header("X-Forwarded-Port", "443")
    };
    request().id("trusted").send().await;
    let seen = app.last();
    let chain = seen.headers.all("X-Forwarded-For").join(", ");
    assert!(chain.starts_with("203.0.113.7"), "{chain}");
    assert_eq!(seen.header("X-Forwarded-Proto"), Some("https"));
    assert_eq!(seen.header("X-Forwarded-Host"), Some("edge.example"));
    assert_eq!(seen.header("X-Forwarded-Port"), Some("443"));
    let forwarded = seen.header("Forwarded").unwrap_or_default().to_owned();
    assert!(forwarded.contains("203.0.113.7"), "{forwarded}");
    request()
        .from_address("127.0.0.8".parse().unwrap())
        .send()
        .await;
    let seen = app.last();
    assert_eq!(seen.headers.all("X-Forwarded-For"), ["127.0.0.8"]);
    assert_eq!(seen.header("X-Forwarded-Proto"), Some("http"));
}

#[tokio::test]
async fn headers_of_our_own_are_removed_in_every_spelling() {
    let (app, cluster) = start_default().await;
    cluster
        .get("/apps/notes/echo")
        .header("X-Backend-User", "evil")
        .header("X_Backend_User", "evil")
        .header("X.Backend.User", "evil")
        .header("x-backend_user", "evil")
        .header("X-Backend-Session-ID", "evil")
        .header("X_BACKEND_SESSION_ID", "evil")
        .header("X-App-Proxy-Token", "evil")
        .header("X_App_Proxy_Attempt", "evil")
        .header("X.App-Proxy_Anything", "evil")
        .header("x-app-proxy-app-revision", "999999")
        .header("X-Backendish", "kept")
        .send()
        .await;
    let seen = app.last();
    let names = folded(&seen);
    let ours: Vec<_> = names
        .iter()
        .filter(|name| name.starts_with("x-backend-") || name.starts_with("x-app-proxy"))
        .collect();
    assert_eq!(
        ours.iter()
            .filter(|name| **name == "x-backend-request-id")
            .count(),
        1
    );
    assert_eq!(
        ours.iter()
            .filter(|name| **name == "x-backend-session-id")
            .count(),
        1
    );
    assert_eq!(ours.len(), 2, "{ours:?}");
    assert!(!format!("{:?}", seen.headers).contains("evil"), "{seen:?}");
    assert_eq!(seen.header("X-Backendish"), Some("kept"));
}

#[tokio::test]
async fn the_token_of_the_tiers_never_leaves_them() {
    let (app, cluster) = start_default().await;
    let answer = cluster.get("/apps/notes/echo").send().await;
    let token = cluster.worker_token();
    assert!(token.len() >= 16, "a token that can be guessed");
    assert!(!format!("{:?}", app.last()).contains(&token));
    assert!(!format!("{:?}", answer.headers).contains(&token));
    let mut socket = cluster.websocket("/apps/notes/ws/echo", &[]).await;
    assert!(!format!("{:?}", app.last()).contains(&token));
    socket.close(1000).await;
}

#[tokio::test]
async fn hop_by_hop_request_headers_stay_on_their_hop() {
    let (app, cluster) = start_default().await;
    cluster
        .get("/apps/api/echo")
        .header("Connection", "X-Private, keep-alive")
        .header("X-Private", "1")
        .header("Keep-Alive", "timeout=5")
        .header("Proxy-Connection", "keep-alive")
        .header("Proxy-Authorization", "Basic eDp5")
        .header("TE", "trailers")
        .header("Upgrade", "something-else")
        .header("X-Public", "2")
        .send()
        .await;
    let seen = app.last();
    for name in ["X-Private", "Keep-Alive", "Proxy-Connection", "Upgrade"] {
        assert!(!seen.headers.has(name), "{name}: {seen:?}");
    }
    assert_eq!(seen.header("X-Public"), Some("2"));
}

#[tokio::test]
async fn hop_by_hop_response_headers_stay_on_their_hop() {
    let (_app, cluster) = start_default().await;
    let answer = asked(
        &cluster,
        "api",
        200,
        &[
            ("Connection", "X-Private"),
            ("X-Private", "1"),
            ("Keep-Alive", "timeout=5"),
            ("Upgrade", "h2c"),
            ("Proxy-Authenticate", "Basic realm=x"),
            ("X-Public", "2"),
        ],
    )
    .await;
    assert_eq!(answer.status, 200);
    for name in ["X-Private", "Upgrade", "Proxy-Authenticate"] {
        assert!(!answer.headers.has(name), "{name}: {:?}", answer.headers);
    }
    assert_ne!(answer.headers.get("Keep-Alive"), Some("timeout=5"));
    assert_eq!(answer.headers.get("X-Public"), Some("2"));
}

#[tokio::test]
async fn the_session_cookie_does_not_reach_the_application_but_others_do() {
    let (app, cluster) = start_default().await;
    let cookie = cluster
        .get("/apps/notes/echo")
        .send()
        .await
        .session_cookie()
        .expect("a session");
    let ours = format!("{SESSION_COOKIE}={cookie}");
    for (sent, expected) in [
        (format!("a=1; {ours}; b=2"), Some("a=1; b=2")),
        (format!("{ours}; a=1"), Some("a=1")),
        (format!("a=1; {ours}"), Some("a=1")),
        (ours.clone(), None),
        (
            format!("{SESSION_COOKIE}2=x; {ours}; x{SESSION_COOKIE}=y"),
            Some("app_proxy_session2=x; xapp_proxy_session=y"),
        ),
        (
            "a=\"q; quoted\"; b=app_proxy_session=z".to_owned(),
            Some("a=\"q; quoted\"; b=app_proxy_session=z"),
        ),
        (format!("{SESSION_COOKIE}=forged.mac; a=1"), Some("a=1")),
    ] {
        for name in ["notes", "api"] {
            cluster
                .get(&format!("/apps/{name}/echo"))
                .header("Cookie", &sent)
                .send()
                .await;
            let seen = app.last();
            let joined = seen.headers.all("Cookie").join("; ");
            assert_eq!(
                Some(joined.as_str()).filter(|text| !text.is_empty()),
                expected,
                "{name}"
            );
        }
    }
    cluster
        .get("/apps/notes/echo")
        .header("Cookie", "a=1")
        .header("Cookie", &ours)
        .header("Cookie", "b=2")
        .send()
        .await;
    let seen = app.last();
    assert_eq!(seen.headers.all("Cookie").join("; "), "a=1; b=2");
    assert_eq!(seen.session_id(), Some(session_id(&cookie)));
}

#[tokio::test]
async fn the_session_header_does_not_reach_the_application() {
    let (app, cluster) = start_default().await;
    let answer = cluster.get("/apps/notes/echo").send().await;
    let session = answer.session_header().expect("a session").to_owned();
    cluster
        .get("/apps/notes/echo")
        .header(SESSION, &session)
        .send()
        .await;
    assert!(!app.last().headers.has(SESSION));
    assert_eq!(app.last().session_id(), Some(session_id(&session)));
}

#[tokio::test]
async fn all_other_request_headers_pass_unchanged() {
    let (app, cluster) = start_default().await;
    let mut client = cluster.client().await;
    let head = format!(
        "GET /apps/api/echo HTTP/1.1\r\nHost: {}\r\nAuthorization: Basic dXNlcjpwYXNz\r\n\
         Origin: https://a.example\r\nReferer: https://a.example/x\r\nUser-Agent: test/1\r\n\
         Accept: */*\r\nAccept-Encoding: br\r\n\
         If-None-Match: \"x\"\r\nRange: bytes=0-1\r\nX-Multi: a\r\nX-Multi: b, c\r\nx-multi: d\r\n\
         X-Empty:\r\nX-Spaces:   in  between   \r\nX-Latin: caf\u{e9}\r\n\r\n",
        cluster.public()
    );
    client.send(head).await;
    assert_eq!(client.read_response("GET").await.status, 200);
    let seen = app.last();
    for (name, value) in [
        ("Authorization", "Basic dXNlcjpwYXNz"),
        ("Origin", "https://a.example"),
        ("Referer", "https://a.example/x"),
        ("User-Agent", "test/1"),
        ("Accept", "*/*"),
        ("Accept-Encoding", "br"),
        ("If-None-Match", "\"x\""),
        ("Range", "bytes=0-1"),
        ("X-Empty", ""),
        ("X-Spaces", "in  between"),
        ("X-Latin", "caf\u{e9}"),
    ] {
        assert_eq!(seen.headers.all(name), [value], "{name}");
    }
    assert_eq!(seen.headers.all("X-Multi"), ["a", "b, c", "d"]);
}

#[tokio::test]
async fn the_host_of_the_client_reaches_the_application() {
    let (app, cluster) = start_default().await;
    cluster
        .get("/apps/kept/echo")
        .host("my.example:8443")
        .send()
        .await;
    // Applications compare Origin with Host (Jupyter does), and so need the client's own.
    assert_eq!(app.last().headers.all("Host"), ["my.example:8443"]);
    assert_eq!(
        app.last().header("X-Forwarded-Host"),
        Some("my.example:8443")
    );
}

#[tokio::test]
async fn all_response_headers_pass_unchanged() {
    let (_app, cluster) = start_default().await;
    let answer = asked(
        &cluster,
        "api",
        206,
        &[
            ("ETag", "\"x\""),
            ("Cache-Control", "no-store"),
            ("Vary", "Origin"),
            ("Vary", "Accept"),
            ("Content-Type", "text/plain; charset=utf-8"),
            ("Content-Encoding", "identity"),
            ("Content-Range", "bytes 0-3/100"),
            ("Link", "</a>; rel=next"),
            ("WWW-Authenticate", "Basic realm=\"a\""),
            ("WWW-Authenticate", "Bearer"),
            ("Server", "application/1"),
            ("X-Multi", "a"),
            ("X-Multi", "b"),
        ],
    )
    .await;
    assert_eq!((answer.status, answer.text().as_str()), (206, "body"));
    for (name, values) in [
        ("ETag", vec!["\"x\""]),
        ("Cache-Control", vec!["no-store"]),
        ("Vary", vec!["Origin", "Accept"]),
        ("Content-Type", vec!["text/plain; charset=utf-8"]),
        ("Content-Range", vec!["bytes 0-3/100"]),
        ("Link", vec!["</a>; rel=next"]),
        ("WWW-Authenticate", vec!["Basic realm=\"a\"", "Bearer"]),
        ("Server", vec!["application/1"]),
        ("X-Multi", vec!["a", "b"]),
        ("Content-Length", vec!["4"]),
    ] {
        assert_eq!(answer.headers.all(name), values, "{name}");
    }
}

#[tokio::test]
async fn every_method_passes() {
    let (app, cluster) = start_default().await;
    for method in [
        "GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "X-OWN",
    ] {
        let request = cluster.request(method, "/apps/api/echo");
        let request = if method == "GET" {
            request
        } else {
            request.body("abc")
        };
        assert_eq!(request.send().await.status, 200, "{method}");
        assert_eq!(app.last().method, method);
        if method != "GET" {
            assert_eq!(app.last().body_bytes, Some(3), "{method}");
        }
    }
}

#[tokio::test]
async fn a_get_with_a_body_passes() {
    let (app, cluster) = start_default().await;
    assert_eq!(
        cluster
            .get("/apps/api/echo")
            .body("query")
            .send()
            .await
            .status,
        200
    );
    assert_eq!(app.last().body_bytes, Some(5));
}

#[tokio::test]
async fn large_bodies_pass_unchanged_up_and_down() {
    let (_app, cluster) = start_default().await;
    let size = 8 * 1024 * 1024 + 17;
    let body = pattern(size);
    let sum = Checksum::of(&body);
    let mut client = cluster.client().await;
    let up = client
        .request("POST", "/apps/notes/echo")
        .body(&body)
        .send()
        .await;
    assert_eq!(up.json()["body_bytes"], size);
    assert_eq!(up.json()["body_sum"], sum.value());
    for target in [
        format!("/apps/notes/bytes/{size}"),
        format!("/apps/notes/bytes/{size}?chunked"),
    ] {
        let down = client.get(&target).send().await;
        assert!(!down.truncated);
        assert_eq!(down.body.len(), size);
        assert!(down.checksum() == sum, "{target}");
    }
}

#[tokio::test]
async fn a_chunked_upload_passes_unchanged() {
    let (_app, cluster) = start_default().await;
    let body = pattern(1_000_003);
    let mut client = cluster.client().await;
    let head = format!(
        "POST /apps/notes/echo HTTP/1.1\r\nHost: {}\r\nTransfer-Encoding: chunked\r\n\r\n",
        cluster.public()
    );
    client.send(head).await;
    for piece in body.chunks(7_919) {
        let mut bytes = format!("{:x};ext=1\r\n", piece.len()).into_bytes();
        bytes.extend_from_slice(piece);
        bytes.extend_from_slice(b"\r\n");
        client.send(bytes).await;
    }
    client.send("0\r\n\r\n").await;
    let answer = client.read_response("POST").await;
    assert_eq!(answer.json()["body_bytes"], body.len());
    assert_eq!(answer.json()["body_sum"], Checksum::of(&body).value());
    assert_eq!(client.get("/apps/notes/echo").send().await.status, 200);
}

#[tokio::test]
async fn http2_bodies_pass_unchanged_up_and_down() {
    let (_app, cluster) = start(app_proxy_tests::cluster::ClusterBuilder::h2c).await;
    let client = cluster.h2_client().await;
    let body = pattern(300_007);
    let sum = Checksum::of(&body);
    let up = client
        .send("POST", "/apps/notes/echo", &[], Some(Bytes::from(body)))
        .await;
    assert_eq!(up.json()["body_sum"], sum.value());
    let down = client.get("/apps/notes/bytes/300007?chunked", &[]).await;
    assert!(down.checksum() == sum);
    assert_eq!(
        client
            .send("HEAD", "/apps/notes/bytes/10", &[], None)
            .await
            .body,
        b""
    );
}

#[tokio::test]
async fn http2_cookies_in_several_fields_are_one_to_the_application() {
    let (app, cluster) = start(app_proxy_tests::cluster::ClusterBuilder::h2c).await;
    let client = cluster.h2_client().await;
    let first = client.get("/apps/notes/echo", &[]).await;
    let ours = format!(
        "{SESSION_COOKIE}={}",
        first.session_cookie().expect("a session")
    );
    client
        .get(
            "/apps/notes/echo",
            &[("cookie", "a=1"), ("cookie", &ours), ("cookie", "b=2")],
        )
        .await;
    // RFC 9113, section 8.2.3: they are joined before they go to HTTP/1.1.
    assert_eq!(app.last().headers.all("Cookie"), ["a=1; b=2"]);
}

#[tokio::test]
async fn a_100_continue_comes_before_the_body_is_sent() {
    let (app, cluster) = start_default().await;
    let mut client = cluster
        .request("POST", "/apps/api/echo")
        .id("expects")
        .header("Expect", "100-continue")
        .header("Content-Length", "5")
        .start()
        .await;
    assert_eq!(client.read_head().await.status(), 100);
    client.send("hello").await;
    let answer = client.read_response("POST").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.request_id(), "expects");
    assert_eq!(app.last().body_bytes, Some(5));
}

#[tokio::test]
async fn an_application_can_reject_an_expected_body() {
    let (app, cluster) = start_default().await;
    let mut client = cluster
        .request("POST", "/apps/api/manual/expect")
        .header("Expect", "100-continue")
        .header("Content-Length", "5")
        .start()
        .await;
    let mut manual = app.accept("expect").await;
    manual
        .send("HTTP/1.1 417 No\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
        .await;
    let answer = client.read_response("POST").await;
    assert_eq!((answer.status, answer.text().as_str()), (417, "no"));
}

#[tokio::test]
async fn responses_without_a_body_leave_the_connection_usable() {
    let (_app, cluster) = start_default().await;
    let mut client = cluster.client().await;
    let modified = respond(304, &[("ETag", "\"x\"")], "");
    let answer = client.get(&format!("/apps/api{modified}")).send().await;
    assert_eq!(answer.status, 304);
    assert_eq!(answer.headers.get("ETag"), Some("\"x\""));
    assert_eq!(client.get("/apps/api/status/204").send().await.status, 204);
    let head = client.request("HEAD", "/apps/api/bytes/1234").send().await;
    assert_eq!(head.headers.get("Content-Length"), Some("1234"));
    assert!(head.body.is_empty());
    let head = client.request("HEAD", "/apps/unknown/").send().await;
    assert_eq!((head.status, head.body.len()), (404, 0));
    assert_eq!(client.get("/apps/api/echo").send().await.status, 200);
}

#[tokio::test]
async fn an_http10_client_gets_no_chunks() {
    let (_app, cluster) = start_default().await;
    let mut client = cluster
        .get("/apps/api/chunked/3")
        .http10()
        .id("old")
        .start()
        .await;
    let head = client.read_head().await;
    assert_eq!(head.status(), 200);
    assert!(!head.headers.has("Transfer-Encoding"), "{head:?}");
    assert_eq!(head.headers.all("X-Backend-Request-ID"), ["old"]);
    let body = client.wire.read_to_end().await;
    assert_eq!(
        String::from_utf8_lossy(&body),
        "chunk 1\nchunk 2\nchunk 3\n"
    );
}

#[tokio::test]
async fn an_http10_client_is_served_with_a_length() {
    let (_app, cluster) = start_default().await;
    let answer = cluster.get("/apps/notes/bytes/1000").http10().send().await;
    assert_eq!(answer.status, 200);
    assert!(answer.checksum() == Checksum::of(&pattern(1000)));
}

#[tokio::test]
async fn a_response_that_ends_with_its_connection_is_complete() {
    let (_app, cluster) = start_default().await;
    for version in ["1.0", "1.1"] {
        let data = format!("HTTP/{version} 200 OK\r\nX-Old: yes\r\n\r\nuntil the end");
        let answer = cluster
            .get(&format!("/apps/api{}", raw(&data, "close")))
            .send()
            .await;
        assert_eq!(answer.text(), "until the end");
        assert!(!answer.truncated);
        answer.request_id();
    }
}

#[tokio::test]
async fn locations_are_rewritten_back_under_strip() {
    let (_app, cluster) = start_default().await;
    let own = format!("http://{}/login", cluster.public());
    let own_rewritten = format!("http://{}/apps/notes/login", cluster.public());
    for (given, expected) in [
        ("/login", "/apps/notes/login"),
        ("/", "/apps/notes/"),
        ("/a/b?next=/c#d", "/apps/notes/a/b?next=/c#d"),
        ("login", "login"),
        ("../x", "../x"),
        ("?page=2", "?page=2"),
        (
            "https://elsewhere.example/login",
            "https://elsewhere.example/login",
        ),
        ("//elsewhere.example/login", "//elsewhere.example/login"),
        (own.as_str(), own_rewritten.as_str()),
    ] {
        for status in [201, 301, 302, 303, 307, 308] {
            let answer = asked(&cluster, "notes", status, &[("Location", given)]).await;
            assert_eq!(answer.status, status);
            assert_eq!(answer.headers.all("Location"), [expected], "{given}");
        }
    }
}

#[tokio::test]
async fn a_rewritten_location_leads_back_to_the_application() {
    let (app, cluster) = start_default().await;
    let answer = asked(
        &cluster,
        "notes",
        302,
        &[("Location", "/echo?from=redirect")],
    )
    .await;
    let location = answer.headers.get("Location").unwrap().to_owned();
    let next = cluster.get(&location).send().await;
    assert_eq!(next.status, 200);
    assert_eq!(app.last().target, "/echo?from=redirect");
}

#[tokio::test]
async fn locations_and_cookies_are_untouched_under_keep() {
    let (_app, cluster) = start_default().await;
    let answer = asked(
        &cluster,
        "kept",
        302,
        &[
            ("Location", "/apps/kept/login"),
            ("Set-Cookie", "a=1; Path=/apps/kept/"),
        ],
    )
    .await;
    assert_eq!(answer.headers.all("Location"), ["/apps/kept/login"]);
    let cookies = answer.headers.all("Set-Cookie");
    assert!(cookies.contains(&"a=1; Path=/apps/kept/"), "{cookies:?}");
}

/// The `Path` of a cookie without a slash at its end.
fn cookie_path(cookie: &str) -> Option<String> {
    let paths = cookie.split(';').skip(1).filter_map(|attribute| {
        let (name, value) = attribute.trim().split_once('=')?;
        name.eq_ignore_ascii_case("path").then_some(value)
    });
    paths
        .last()
        .map(|path| path.trim_end_matches('/').to_owned())
}

#[tokio::test]
async fn cookie_paths_are_rewritten_back_under_strip() {
    let (_app, cluster) = start_default().await;
    let answer = asked(
        &cluster,
        "notes",
        200,
        &[
            ("Set-Cookie", "root=1; Path=/; HttpOnly"),
            ("Set-Cookie", "sub=2; path=/sub; Secure"),
            ("Set-Cookie", "none=3; HttpOnly"),
            ("Set-Cookie", "tricky=\"Path=/x\"; SameSite=Lax"),
            (
                "Set-Cookie",
                "dated=4; Expires=Wed, 21 Oct 2026 07:28:00 GMT; Path=/d",
            ),
        ],
    )
    .await;
    let cookies = answer.headers.all("Set-Cookie");
    let find = |name: &str| {
        let found: Vec<_> = cookies
            .iter()
            .filter(|cookie| cookie.starts_with(name))
            .collect();
        assert_eq!(found.len(), 1, "{name}: {cookies:?}");
        (*found[0]).to_owned()
    };
    assert_eq!(
        cookie_path(&find("root=1;")).as_deref(),
        Some("/apps/notes")
    );
    assert!(find("root=1;").contains("HttpOnly"));
    assert_eq!(
        cookie_path(&find("sub=2;")).as_deref(),
        Some("/apps/notes/sub")
    );
    assert!(find("sub=2;").contains("Secure"));
    assert_eq!(find("none=3;"), "none=3; HttpOnly");
    assert_eq!(find("tricky="), "tricky=\"Path=/x\"; SameSite=Lax");
    assert_eq!(
        cookie_path(&find("dated=4;")).as_deref(),
        Some("/apps/notes/d")
    );
    assert!(find("dated=4;").contains("Expires=Wed, 21 Oct 2026 07:28:00 GMT"));
}

#[tokio::test]
async fn a_host_match_without_a_path_rewrites_nothing() {
    let app = RecordingApp::start().await;
    let cluster = Cluster::builder()
        .app_with(
            "site",
            app.addr(),
            &json!({"match": [{"host": "site.example"}]}),
        )
        .start()
        .await;
    let target = respond(
        302,
        &[("Location", "/login"), ("Set-Cookie", "a=1; Path=/")],
        "",
    );
    let answer = cluster.get(&target).host("site.example").send().await;
    assert_eq!(answer.headers.all("Location"), ["/login"]);
    assert!(answer.headers.all("Set-Cookie").contains(&"a=1; Path=/"));
}

#[tokio::test]
async fn connections_to_workers_and_applications_are_reused() {
    let (app, cluster) = start_default().await;
    let mut reused = 0;
    for n in 0..20 {
        let id = format!("reuse-{n}");
        cluster.get("/apps/api/echo").id(&id).send().await;
        // A connection is free for the next request once this one is logged; the client has its
        // answer before.
        for line in [
            cluster.worker_log(0).request(&id).await,
            cluster.coordinator_log().request(&id).await,
        ] {
            reused += usize::from(line["connection_reused"] == true);
        }
    }
    // All but the first at each tier, with room for Pingora's race: `reused_stream` gives a
    // connection up ("failed to acquire reusable stream") when the task that watched it on another
    // thread has unlocked it and not yet let go of it.
    assert!(
        (32..=38).contains(&reused),
        "{reused} of 40 on a connection that was there"
    );
    assert!(app.connections() <= 4, "{} connections", app.connections());
}

#[tokio::test]
async fn a_connection_that_the_client_wants_closed_is_closed() {
    let (_app, cluster) = start_default().await;
    let mut client = cluster
        .get("/apps/api/echo")
        .header("Connection", "close")
        .start()
        .await;
    assert_eq!(client.read_response("GET").await.status, 200);
    assert_eq!(client.closed().await, 0);
}
