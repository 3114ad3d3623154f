//! Locations and cookies of an application whose prefix was removed, as bytes.

use app_proxy_tests::cluster::Cluster;
use app_proxy_tests::http1::Client;
use app_proxy_tests::raw_app::{RawApp, Reply};
use serde_json::json;

use super::support::{raw_head, request, start, start_default};

/// The values of `name` that the client gets when the application sends `lines` to `host`.
async fn values(
    app: &RawApp,
    client: &mut Client,
    host: &str,
    path: &str,
    lines: &[u8],
    name: &str,
) -> Vec<Vec<u8>> {
    let start = &b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"[..];
    app.reply("*", Reply::new([start, lines, b"\r\nok"].concat()));
    let bytes = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    client.send(bytes).await;
    let head = raw_head(client).await;
    assert!(
        head.starts_with(b"HTTP/1.1 200 "),
        "{}",
        head.escape_ascii()
    );
    client.wire.take(2).await.unwrap();
    head.split(|byte| *byte == b'\n')
        .filter_map(|line| {
            let (found, value) = line.split_at_checked(name.len() + 1)?;
            let is_name = found[..name.len()].eq_ignore_ascii_case(name.as_bytes());
            (is_name && found.ends_with(b":")).then(|| value.trim_ascii().to_vec())
        })
        .collect()
}

async fn assert_rewritten(
    app: &RawApp,
    cluster: &Cluster,
    host: &str,
    name: &str,
    cases: &[(&[u8], &[u8])],
) {
    let mut client = cluster.client().await;
    for (sent, expected) in cases {
        let line = [name.as_bytes(), b": ", sent, b"\r\n"].concat();
        let found = values(app, &mut client, host, "/apps/raw/x", &line, name).await;
        let shown: Vec<_> = found
            .iter()
            .map(|value| value.escape_ascii().to_string())
            .collect();
        assert_eq!(
            shown,
            [expected.escape_ascii().to_string()],
            "{name}: {}",
            sent.escape_ascii()
        );
        // An app that keeps its prefix gets its own bytes back.
        let found = values(app, &mut client, host, "/apps/kept/x", &line, name).await;
        let expected = sent.trim_ascii();
        assert_eq!(found, [expected], "{name}: {}", sent.escape_ascii());
    }
}

#[tokio::test]
async fn paths_of_cookies_get_the_prefix_whatever_the_bytes_around_them_are() {
    let (app, cluster) = start_default().await;
    let cases: [(&[u8], &[u8]); 24] = [
        (b"a=1; Path=/", b"a=1; Path=/apps/raw/"),
        (
            b"a=1; path=/x; HttpOnly",
            b"a=1; Path=/apps/raw/x; HttpOnly",
        ),
        (b"a=1", b"a=1"),
        // Bytes of Latin-1, in a value, a path, a name, an attribute.
        (b"a=caf\xe9; Path=/", b"a=caf\xe9; Path=/apps/raw/"),
        (b"a=1; Path=/caf\xe9", b"a=1; Path=/apps/raw/caf\xe9"),
        (b"caf\xe9=1; Path=/", b"caf\xe9=1; Path=/apps/raw/"),
        (b"a=1; X=\xff; Path=/", b"a=1; X=\xff; Path=/apps/raw/"),
        (
            b"a=\xe6\x97\xa5; Path=/",
            b"a=\xe6\x97\xa5; Path=/apps/raw/",
        ),
        // The first pair is the cookie, whatever its name.
        (b"path=/home/user; HttpOnly", b"path=/home/user; HttpOnly"),
        (b"Path=/; Secure", b"Path=/; Secure"),
        (
            b"path=/home/user; Path=/x",
            b"path=/home/user; Path=/apps/raw/x",
        ),
        (b"path=/; path=/", b"path=/; Path=/apps/raw/"),
        (b" path=/a", b"path=/a"),
        (b"domain=x; Path=/", b"domain=x; Path=/apps/raw/"),
        // Prefixes of names, in any case.
        (b"__Host-a=1; Path=/; Secure", b"__Host-a=1; Path=/; Secure"),
        (b"__host-a=1; Path=/; Secure", b"__host-a=1; Path=/; Secure"),
        (b"__HOST-a=1; path=/; Secure", b"__HOST-a=1; path=/; Secure"),
        (
            b"__Secure-a=1; Path=/; Secure",
            b"__Secure-a=1; Path=/apps/raw/; Secure",
        ),
        (b"x__Host-a=1; Path=/", b"x__Host-a=1; Path=/apps/raw/"),
        // Paths that have the prefix, and such that only look like it.
        (b"a=1; Path=/apps/raw/", b"a=1; Path=/apps/raw/"),
        (b"a=1; Path=/apps/raw", b"a=1; Path=/apps/raw"),
        (b"a=1; Path=/apps/rawer", b"a=1; Path=/apps/raw/apps/rawer"),
        (b"a=1; Path=relative", b"a=1; Path=relative"),
        (b"a=1; Path=", b"a=1; Path="),
    ];
    assert_rewritten(&app, &cluster, "h.example", "Set-Cookie", &cases).await;
}

#[tokio::test]
async fn each_of_several_cookies_is_rewritten_for_itself_over_both_protocols() {
    let (app, cluster) = start(app_proxy_tests::cluster::ClusterBuilder::h2c).await;
    let lines = b"Set-Cookie: a=caf\xe9; Path=/\r\nSet-Cookie: path=/home\r\n\
        set-cookie: __host-b=1; Path=/; Secure\r\nSet-Cookie: c=1; Path=/c\r\n";
    let mut client = cluster.client().await;
    let found = values(
        &app,
        &mut client,
        "h.example",
        "/apps/raw/x",
        lines,
        "Set-Cookie",
    )
    .await;
    let expected: [&[u8]; 4] = [
        b"a=caf\xe9; Path=/apps/raw/",
        b"path=/home",
        b"__host-b=1; Path=/; Secure",
        b"c=1; Path=/apps/raw/c",
    ];
    assert_eq!(found, expected);
    let client = cluster.h2_client().await;
    let response = client.start("GET", "/apps/raw/x", &[], None).await;
    let response = app_proxy_tests::wait::within("a response", response)
        .await
        .unwrap();
    let found: Vec<&[u8]> = response
        .headers()
        .get_all("set-cookie")
        .iter()
        .map(http::HeaderValue::as_bytes)
        .collect();
    assert_eq!(found, expected);
}

#[tokio::test]
async fn locations_within_the_application_get_the_prefix() {
    let (app, cluster) = start_default().await;
    let own = format!("http://{}/x", app.addr());
    let cases: [(&[u8], &[u8]); 21] = [
        (b"/x", b"/apps/raw/x"),
        (b"/caf\xe9", b"/apps/raw/caf\xe9"),
        (b"/x?a=\xff#\xe9", b"/apps/raw/x?a=\xff#\xe9"),
        (
            b"http://app.example/caf\xe9",
            b"http://app.example/apps/raw/caf\xe9",
        ),
        (b"http://app.example/x", b"http://app.example/apps/raw/x"),
        (b"http://APP.example/x", b"http://APP.example/apps/raw/x"),
        // The default port, given or not.
        (
            b"http://app.example:80/x",
            b"http://app.example:80/apps/raw/x",
        ),
        (b"http://app.example:/x", b"http://app.example:/apps/raw/x"),
        (
            b"https://app.example:443/x",
            b"https://app.example:443/apps/raw/x",
        ),
        (b"//app.example/x", b"//app.example/apps/raw/x"),
        (b"//app.example:80/x", b"//app.example:80/apps/raw/x"),
        // An empty path.
        (b"http://app.example", b"http://app.example/apps/raw/"),
        (
            b"http://app.example?code=1",
            b"http://app.example/apps/raw/?code=1",
        ),
        (
            b"http://app.example#top",
            b"http://app.example/apps/raw/#top",
        ),
        (
            b"http://app.example:80?code=1",
            b"http://app.example:80/apps/raw/?code=1",
        ),
        // The address of the endpoint, which clients cannot reach.
        (own.as_bytes(), b"/apps/raw/x"),
        // Others.
        (b"http://app.example:81/x", b"http://app.example:81/x"),
        (b"http://app.example.evil/x", b"http://app.example.evil/x"),
        (b"http://other.example/x", b"http://other.example/x"),
        (b"x/y", b"x/y"),
        (b"mailto:a@app.example", b"mailto:a@app.example"),
    ];
    for name in ["Location", "Content-Location"] {
        assert_rewritten(&app, &cluster, "app.example", name, &cases[..15]).await;
        assert_rewritten(&app, &cluster, "app.example", name, &cases[16..]).await;
        let mut client = cluster.client().await;
        let line = [name.as_bytes(), b": ", cases[15].0, b"\r\n"].concat();
        let host = "app.example";
        let found = values(&app, &mut client, host, "/apps/raw/x", &line, name).await;
        assert_eq!(found, [cases[15].1.to_vec()], "{name}");
    }
    // A host that the client names with the default port.
    let cases: [(&[u8], &[u8]); 3] = [
        (b"http://app.example/x", b"http://app.example/apps/raw/x"),
        (
            b"http://app.example:80/x",
            b"http://app.example:80/apps/raw/x",
        ),
        (
            b"http://app.example?code=1",
            b"http://app.example/apps/raw/?code=1",
        ),
    ];
    assert_rewritten(&app, &cluster, "app.example:80", "Location", &cases).await;
    let cases: [(&[u8], &[u8]); 3] = [
        (
            b"http://app.example:8080/x",
            b"http://app.example:8080/apps/raw/x",
        ),
        (b"http://app.example/x", b"http://app.example/x"),
        (b"http://app.example:80/x", b"http://app.example:80/x"),
    ];
    assert_rewritten(&app, &cluster, "app.example:8080", "Location", &cases).await;
}

#[tokio::test]
async fn a_secure_client_has_443_as_default_port() {
    let trusted = json!({"trusted_proxies": ["127.0.0.1/32"]});
    let (app, cluster) = start(|builder| builder.coordinator(&trusted)).await;
    for (host, sent, expected) in [
        (
            "app.example",
            "https://app.example:443/x",
            "https://app.example:443/apps/raw/x",
        ),
        (
            "app.example:443",
            "https://app.example/x",
            "https://app.example/apps/raw/x",
        ),
        (
            "app.example:443",
            "https://app.example?a=1",
            "https://app.example/apps/raw/?a=1",
        ),
    ] {
        let start = "HTTP/1.1 302 Found\r\nContent-Length: 0\r\n";
        app.reply("*", Reply::new(format!("{start}Location: {sent}\r\n\r\n")));
        let mut client = cluster.client().await;
        let bytes =
            format!("GET /apps/raw/x HTTP/1.1\r\nHost: {host}\r\nX-Forwarded-Proto: https\r\n\r\n");
        client.send(bytes).await;
        let answer = client.read_response("GET").await;
        assert_eq!(
            answer.headers.get("Location"),
            Some(expected),
            "{host} {sent}"
        );
    }
}

#[tokio::test]
async fn the_url_of_a_refresh_gets_the_prefix() {
    let (app, cluster) = start_default().await;
    let cases: [(&[u8], &[u8]); 13] = [
        (b"0; url=/next", b"0; url=/apps/raw/next"),
        (b"5;URL=/next?a=b", b"5;URL=/apps/raw/next?a=b"),
        (b"0; url='/next'", b"0; url='/apps/raw/next'"),
        (b"0; url=\"/next\"", b"0; url=\"/apps/raw/next\""),
        (b"0, url = /next", b"0, url = /apps/raw/next"),
        (b"0; url=/caf\xe9", b"0; url=/apps/raw/caf\xe9"),
        (
            b"0; url=http://app.example/x",
            b"0; url=http://app.example/apps/raw/x",
        ),
        (
            b"0; url=http://app.example:80",
            b"0; url=http://app.example:80/apps/raw/",
        ),
        (
            b"0; url=http://other.example/x",
            b"0; url=http://other.example/x",
        ),
        (b"0; url=/apps/raw/x", b"0; url=/apps/raw/x"),
        (b"0; url=next", b"0; url=next"),
        (b"5", b"5"),
        (b"0; url=", b"0; url="),
    ];
    assert_rewritten(&app, &cluster, "app.example", "Refresh", &cases).await;
}

#[tokio::test]
async fn an_application_cannot_set_the_cookie_of_the_session() {
    let (app, cluster) = start_default().await;
    let lines = b"Set-Cookie: app_proxy_session=evil.mac; Path=/\r\n\
        Set-Cookie: app_proxy_session=caf\xe9; Path=/\r\nSet-Cookie: good=1; Path=/\r\n";
    app.reply(
        "*",
        Reply::new(
            [
                b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n",
                &lines[..],
                b"\r\nok",
            ]
            .concat(),
        ),
    );
    for name in ["raw", "kept", "user"] {
        let mut client = cluster.client().await;
        let bytes = request("GET", &format!("/apps/{name}/x"), name, "", "");
        client.send(bytes).await;
        let head = raw_head(&mut client).await;
        let text = head.escape_ascii().to_string();
        assert!(!text.contains("evil") && !text.contains("caf"), "{text}");
        assert!(text.contains("good=1"), "{text}");
    }
}
