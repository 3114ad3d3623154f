//! Request lines, targets, hosts and versions.

use app_proxy_tests::REQUEST_ID;
use app_proxy_tests::cluster::Cluster;
use app_proxy_tests::raw_app::RawApp;

use super::support::{Journal, assert_problem, assert_refused, head, request, send, start_default};

/// Sends a request to which the application must answer; returns the target that it received.
async fn target_at_application(
    app: &RawApp,
    cluster: &Cluster,
    prefix: &str,
    target: &[u8],
    id: &str,
) -> Vec<u8> {
    let line = [b"GET ", prefix.as_bytes(), target, b" HTTP/1.1"].concat();
    let (answer, _client) = send(cluster, head(line, id, "", "")).await;
    assert_eq!(
        answer.status,
        200,
        "{}: {}",
        target.escape_ascii(),
        answer.text()
    );
    assert_eq!(answer.request_id(), id);
    app.only(id).target().to_vec()
}

#[tokio::test]
async fn a_target_reaches_the_application_byte_for_byte() {
    let (app, cluster) = start_default().await;
    let mut journal = Journal::default();
    let every_byte: Vec<u8> = (0x21..=0xff)
        .filter(|byte| !matches!(byte, b'#' | b'?' | b'%' | b'/' | b'.' | 0x7f))
        .collect();
    let targets: [&[u8]; 22] = [
        b"/q?query=up>0",
        br#"/q?f={"a":1}"#,
        b"/a`b",
        b"/a<b>c?<d>=`e`",
        br#"/"quoted"?"quoted""#,
        br"/a|b\c^d{e}[f]?a|b\c^d{e}[f]",
        b"/caf\xe9?caf\xe9=\xff",
        b"/\xe6\x97\xa5\xe6\x9c\xac?\xe8\xaa\x9e",
        b"/\x80\xff",
        b"/mixed<\xe9>\xe6\x97\xa5`?\"\xe9\"<",
        b"/a%2Fb%3C%e9?%3c<%E9\xe9",
        b"/a?%zz%%",
        b"/a//b//",
        b"//a",
        b"/?",
        b"/??",
        b"/a?b?c=/d?",
        b"/a;b=c,d:e@f!$&'()*+",
        b"/<",
        b"/?<",
        &[b"/", &every_byte[..]].concat(),
        &[b"/?", &every_byte[..]].concat(),
    ];
    for (n, target) in targets.iter().enumerate() {
        for (name, prefix, is_stripped) in [
            ("raw", "/apps/raw", true),
            ("kept", "/apps/kept", false),
            ("user", "/apps/user", true),
        ] {
            let id = format!("target-{n}-{name}");
            let seen = target_at_application(&app, &cluster, prefix, target, &id).await;
            let expected = if is_stripped {
                target.to_vec()
            } else {
                [prefix.as_bytes(), target].concat()
            };
            assert_eq!(
                seen.escape_ascii().to_string(),
                expected.escape_ascii().to_string(),
                "{id}"
            );
            journal.passed(&id, 200);
        }
    }
    app.assert_strict();
    journal.check(&cluster).await;
}

#[tokio::test]
async fn a_redirect_to_the_prefix_keeps_the_bytes_of_the_query() {
    let (app, cluster) = start_default().await;
    for (n, query) in ["query=up>0", "f={\"a\":1}", "`<>`", "a=1?b"]
        .into_iter()
        .enumerate()
    {
        let target = format!("/apps/raw?{query}");
        let (answer, _) = send(&cluster, request("GET", &target, &format!("r{n}"), "", "")).await;
        assert_eq!(answer.status, 308, "{query}");
        let location = answer.headers.get("Location").unwrap_or_default();
        let encoded = query
            .replace('>', "%3E")
            .replace('<', "%3C")
            .replace('"', "%22");
        assert!(
            [
                format!("/apps/raw/?{query}"),
                format!("/apps/raw/?{encoded}")
            ]
            .contains(&location.to_owned()),
            "{query}: {location}"
        );
    }
    assert_eq!(app.count(), 0);
}

#[tokio::test]
async fn an_invalid_request_line_is_refused_and_not_repaired() {
    let (app, cluster) = start_default().await;
    let mut journal = Journal::default();
    let mut lines: Vec<Vec<u8>> = [
        // Blanks.
        "GET /apps/raw/a b HTTP/1.1",
        "GET  /apps/raw/a HTTP/1.1",
        "GET /apps/raw/a  HTTP/1.1",
        "GET /apps/raw/a HTTP/1.1 ",
        " GET /apps/raw/a HTTP/1.1",
        "GET\t/apps/raw/a HTTP/1.1",
        "GET /apps/raw/a\tHTTP/1.1",
        "GET /apps/raw/a\rb HTTP/1.1",
        "GET /apps/raw/a HTTP/1.1\r",
        // Targets that are in no form, or in that of another method.
        "GET o HTTP/1.1",
        "GET apps/raw/a HTTP/1.1",
        "GET h.example HTTP/1.1",
        "GET h.example:80 HTTP/1.1",
        "GET ?a HTTP/1.1",
        "GET * HTTP/1.1",
        "GET \\apps\\raw\\a HTTP/1.1",
        "GET http:/apps/raw/a HTTP/1.1",
        "GET http:///apps/raw/a HTTP/1.1",
        "GET ftp://h.example/apps/raw/a HTTP/1.1",
        "GET http://user@h.example/apps/raw/a HTTP/1.1",
        "OPTIONS *a HTTP/1.1",
        // Fragments.
        "GET /apps/raw/a#frag HTTP/1.1",
        "GET /apps/raw/a?b#frag HTTP/1.1",
        "GET #/apps/raw/a HTTP/1.1",
        // Methods.
        "G(T /apps/raw/a HTTP/1.1",
        "G\u{e9}T /apps/raw/a HTTP/1.1",
        "GET: /apps/raw/a HTTP/1.1",
        "\"GET\" /apps/raw/a HTTP/1.1",
        // Versions.
        "GET /apps/raw/a",
        "GET /apps/raw/a ",
        "GET /apps/raw/a http/1.1",
        "GET /apps/raw/a HTTP/1.1x",
        "GET /apps/raw/a HTTP/11.1",
        "GET /apps/raw/a HTTP/1.10",
        "GET /apps/raw/a HTTP/1,1",
        "GET /apps/raw/a HTTP/1",
        "GET /apps/raw/a HTTP/",
        "GET /apps/raw/a HTTPS/1.1",
        "GET /apps/raw/a ICY/1.1",
    ]
    .map(|line| line.as_bytes().to_vec())
    .into();
    let controls = (0..0x20_u8).filter(|byte| *byte != b'\n').chain([0x7f]);
    for control in controls {
        for template in [
            &b"GET /apps/raw/a!b HTTP/1.1"[..],
            b"GET /apps/raw/a?b!c HTTP/1.1",
            b"GET ! HTTP/1.1",
            b"GET !/apps/raw/a HTTP/1.1",
            b"GE!T /apps/raw/a HTTP/1.1",
        ] {
            let line = template.iter().map(|byte| match byte {
                b'!' => control,
                byte => *byte,
            });
            lines.push(line.collect());
        }
    }
    for (n, line) in lines.iter().enumerate() {
        let id = format!("line-{n}");
        let name = line.escape_ascii().to_string();
        println!("{id}: {name}");
        let answered = send(&cluster, head(line, &id, "", "")).await;
        assert_refused(answered, 400, "bad_request", &id).await;
        journal.refused(&id, 400, "bad_request");
        assert_eq!(app.count(), 0, "{name}: {:?}", app.requests());
    }
    journal.check(&cluster).await;
}

#[tokio::test]
async fn a_line_that_breaks_the_syntax_of_heads_is_refused() {
    let (app, cluster) = start_default().await;
    let mut journal = Journal::default();
    let controls = (0..0x20_u8)
        .chain([0x7f])
        .filter(|byte| !matches!(byte, b'\t' | b'\n'));
    let mut lines: Vec<Vec<u8>> = [
        &b"A: b\nC: d\r\n"[..],
        b"A: b\n",
        b"A: b\rC: d\r\n",
        b"A: b\r\r\n",
        b"A : b\r\n",
        b"A\t: b\r\n",
        b" A: b\r\n",
        b"A: b\r\n c\r\n",
        b"A: b\r\n\tc\r\n",
        b"A: b\r\n \r\n",
        b"A\r\n",
        b": b\r\n",
        b"A b: c\r\n",
        b"A\xe9: b\r\n",
        b"A(b): c\r\n",
        b"A\0: b\r\n",
        b"{A}: b\r\n",
        b"\"A\": b\r\n",
    ]
    .map(<[u8]>::to_vec)
    .into();
    lines.extend(controls.map(|control| [b"A: b", &[control][..], b"c\r\n"].concat()));
    for (n, line) in lines.iter().enumerate() {
        let id = format!("field-{n}");
        println!("{id}: {}", line.escape_ascii());
        let start =
            format!("GET /apps/raw/a HTTP/1.1\r\nHost: h.example\r\n{REQUEST_ID}: {id}\r\n");
        let bytes = [start.as_bytes(), line, b"X-Last: 1\r\n\r\n"].concat();
        assert_refused(send(&cluster, bytes).await, 400, "bad_request", &id).await;
        journal.refused(&id, 400, "bad_request");
    }
    assert_eq!(app.count(), 0, "{:?}", app.requests());
    journal.check(&cluster).await;
}

#[tokio::test]
async fn values_with_tabs_and_bytes_of_other_encodings_pass() {
    let (app, cluster) = start_default().await;
    let lines = b"A: b\tc\r\nB: caf\xe9\r\nC: \xe6\x97\xa5\r\nD:\r\nE:  \t f \t \r\n\
        F!#$%&'*+-.^_`|~9: g\r\nG: \x80\xff\r\n";
    let id = "values";
    let start = format!("GET /apps/raw/a HTTP/1.1\r\nHost: h.example\r\n{REQUEST_ID}: {id}\r\n");
    let (answer, _) = send(&cluster, [start.as_bytes(), lines, b"\r\n"].concat()).await;
    assert_eq!(answer.status, 200);
    let seen = app.only(id);
    for (name, value) in [
        ("A", &b"b\tc"[..]),
        ("B", b"caf\xe9"),
        ("C", b"\xe6\x97\xa5"),
        ("D", b""),
        ("E", b"f"),
        ("F!#$%&'*+-.^_`|~9", b"g"),
        ("G", b"\x80\xff"),
    ] {
        assert_eq!(seen.values(name), [value], "{name}");
    }
    app.assert_strict();
}

#[tokio::test]
async fn one_empty_line_before_a_request_is_skipped_and_no_more() {
    let (app, cluster) = start_default().await;
    let mut client = cluster.client().await;
    for n in 0..3 {
        let id = format!("skipped-{n}");
        let bytes = request(
            "POST",
            "/apps/raw/a",
            &id,
            "Content-Length: 3\r\n",
            "abc\r\n",
        );
        client.send(bytes).await;
        assert_eq!(client.read_response("POST").await.status, 200);
        assert_eq!(app.only(&id).body, b"abc");
    }
    for prefix in ["\r\n\r\n", "\n", "\r\n\n", "\r", " \r\n", "\0"] {
        let bytes = [
            prefix.as_bytes(),
            &request("GET", "/apps/raw/a", "twice", "", ""),
        ]
        .concat();
        let (answer, mut client) = send(&cluster, bytes).await;
        assert_eq!(answer.status, 400, "{prefix:?}");
        assert_eq!(client.closed().await, 0, "{prefix:?}");
    }
    assert_eq!(app.count(), 3);
}

#[tokio::test]
async fn later_minor_versions_are_version_1_1_and_other_major_versions_are_refused() {
    let (app, cluster) = start_default().await;
    let mut journal = Journal::default();
    for minor in 0..=9 {
        let id = format!("minor-{minor}");
        let line = format!("GET /apps/raw/a HTTP/1.{minor}");
        let (answer, _) = send(&cluster, head(line, &id, "", "")).await;
        assert_eq!(answer.status, 200, "{minor}");
        assert_eq!(answer.version, "HTTP/1.1");
        assert_eq!(app.only(&id).word(2), b"HTTP/1.1");
        journal.passed(&id, 200);
    }
    for version in ["0.9", "0.0", "2.0", "2.1", "3.0", "9.9"] {
        let id = format!("major-{version}");
        let line = format!("GET /apps/raw/a HTTP/{version}");
        let answered = send(&cluster, head(line, &id, "", "")).await;
        assert_refused(answered, 505, "version_not_supported", &id).await;
        journal.refused(&id, 505, "version_not_supported");
    }
    assert_eq!(app.count(), 10);
    journal.check(&cluster).await;
}

#[tokio::test]
async fn the_proxy_answers_for_itself_where_a_request_may_go_no_further() {
    let (app, cluster) = start_default().await;
    let mut journal = Journal::default();
    for (n, (target, lines)) in [
        ("*", ""),
        ("*", "Max-Forwards: 0\r\n"),
        ("*", "Max-Forwards: 10\r\n"),
        ("*", "Content-Length: 0\r\n"),
        ("/apps/raw/a", "Max-Forwards: 0\r\n"),
        ("/apps/raw/a", "Max-Forwards: 000\r\n"),
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("own-{n}");
        let (answer, _) = send(&cluster, request("OPTIONS", target, &id, lines, "")).await;
        assert!(matches!(answer.status, 200 | 204), "{target}: {answer:?}");
        assert_eq!(answer.request_id(), id);
        assert!(answer.headers.lists("Allow", "GET"), "{answer:?}");
        journal.answered(&id, answer.status);
    }
    assert_eq!(app.count(), 0, "{:?}", app.requests());
    for (n, (method, lines, left)) in [
        ("OPTIONS", "Max-Forwards: 1\r\n", "0"),
        ("OPTIONS", "Max-Forwards: 10\r\n", "9"),
        ("GET", "Max-Forwards: 0\r\n", ""),
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("further-{n}");
        let (answer, _) = send(&cluster, request(method, "/apps/raw/a", &id, lines, "")).await;
        assert_eq!(answer.status, 200);
        if method == "OPTIONS" {
            assert_eq!(app.only(&id).value("Max-Forwards").as_deref(), Some(left));
        }
        journal.passed(&id, 200);
    }
    for method in ["TRACE", "CONNECT"] {
        let target = if method == "TRACE" {
            "/apps/raw/a"
        } else {
            "h.example:443"
        };
        let bytes = request(method, target, method, "Max-Forwards: 0\r\n", "");
        let (answer, _) = send(&cluster, bytes).await;
        assert_problem(&answer, 405, "method_not_allowed", method);
        assert!(answer.headers.has("Allow"), "{answer:?}");
        journal.refused(method, 405, "method_not_allowed");
    }
    journal.check(&cluster).await;
}
