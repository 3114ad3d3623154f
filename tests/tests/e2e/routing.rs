//! Routing: the app of a request, the path that the application sees, and hostile paths.

use app_proxy_tests::app::RecordingApp;
use app_proxy_tests::cluster::Cluster;
use app_proxy_tests::http1::Response;
use serde_json::{Value, json};

use crate::{start, start_default};

/// The target that the application saw for the request that was answered with `answer`.
fn target(answer: &Response) -> String {
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["target"].as_str().unwrap().to_owned()
}

/// Several apps, each with an application of its own.
async fn apps(all: &[(&str, Value)]) -> (Vec<RecordingApp>, Cluster) {
    let mut builder = Cluster::builder();
    let mut running = Vec::new();
    for (name, more) in all {
        let app = RecordingApp::start().await;
        builder = builder.app_with(name, app.addr(), more);
        running.push(app);
    }
    (running, builder.start().await)
}

/// Returns which of `apps` a GET reaches; `None` with the status when it reaches none.
async fn reached(
    apps: &[RecordingApp],
    cluster: &Cluster,
    host: Option<&str>,
    path: &str,
) -> (Option<usize>, u16) {
    let before: Vec<_> = apps.iter().map(RecordingApp::count).collect();
    let request = cluster.get(path);
    let request = match host {
        Some(host) => request.host(host),
        None => request,
    };
    let answer = request.send().await;
    answer.request_id();
    let after = apps.iter().map(RecordingApp::count);
    let found = after.zip(before).position(|(after, before)| after > before);
    (found, answer.status)
}

#[tokio::test]
async fn an_app_answers_below_apps_and_its_name() {
    let (_app, cluster) = start_default().await;
    for path in ["/", "/echo", "/a/b/c", "/a/", "/.hidden", "/~user/x.html"] {
        let answer = cluster.get(&format!("/apps/notes{path}")).send().await;
        assert_eq!(target(&answer), path);
    }
}

#[tokio::test]
async fn keep_forwards_the_whole_path() {
    let (app, cluster) = start_default().await;
    for path in ["/apps/kept/", "/apps/kept/a/b?c=d", "/apps/kept/a%20b"] {
        assert_eq!(target(&cluster.get(path).send().await), path);
        assert_eq!(app.last().target, path);
    }
}

#[tokio::test]
async fn the_applications_bytes_are_the_clients_own() {
    let (_app, cluster) = start_default().await;
    for rest in [
        "/a%20b%2Fc",
        "//double//slashes/",
        "/d;x=%41;y",
        "/q?x=%2e%2e&y=//&z=%zz",
        "/q??=&&;'()*!$@:,",
        "/%E2%82%AC/%e2%82%ac",
        "/%252e%252e/x",
        "/...",
        "/a..b/..c/d..",
        "/a/./b",
        "/a/../b",
        "/?",
        "/a?",
        "/%7Euser",
        "/a\\b",
    ] {
        let answer = cluster.get(&format!("/apps/notes{rest}")).send().await;
        assert_eq!(target(&answer), rest);
        let answer = cluster.get(&format!("/apps/kept{rest}")).send().await;
        assert_eq!(target(&answer), format!("/apps/kept{rest}"));
    }
}

#[tokio::test]
async fn matching_works_on_the_decoded_path() {
    let (_app, cluster) = start_default().await;
    let answer = cluster.get("/%61pps/n%6Ftes/a%62?x").send().await;
    assert_eq!(target(&answer), "/a%62?x");
    let answer = cluster.get("/%61pps/kept/x").send().await;
    assert_eq!(target(&answer), "/%61pps/kept/x");
}

#[tokio::test]
async fn the_bare_prefix_redirects_to_the_folder() {
    let (app, cluster) = start_default().await;
    for (path, location) in [
        ("/apps/notes", "/apps/notes/"),
        ("/apps/kept", "/apps/kept/"),
        ("/apps/notes?x=1&y=%20", "/apps/notes/?x=1&y=%20"),
    ] {
        for method in ["GET", "POST", "HEAD"] {
            let answer = cluster.request(method, path).send().await;
            assert_eq!(answer.status, 308, "{method} {path}");
            assert_eq!(answer.headers.get("Location"), Some(location));
            answer.request_id();
        }
    }
    assert_eq!(app.count(), 0);
}

#[tokio::test]
async fn the_redirect_to_the_folder_stays_on_this_host() {
    let (_app, cluster) = start_default().await;
    for path in [
        "//apps/notes",
        "//evil.example/apps/notes",
        "/\\evil.example/..//apps/notes",
    ] {
        let answer = cluster.get(path).send().await;
        if let Some(location) = answer.headers.get("Location") {
            assert!(location.starts_with("/apps/"), "{path}: {location}");
        }
    }
    let answer = cluster.get("/apps/notes?x=%0d%0aX-Evil:1").send().await;
    assert!(!answer.headers.has("X-Evil"));
}

#[tokio::test]
async fn the_longest_prefix_wins_on_whole_segments() {
    let (apps, cluster) = apps(&[
        ("short", json!({"match": [{"path": "/a"}]})),
        ("long", json!({"match": [{"path": "/a/b"}]})),
        (
            "longest",
            json!({"match": [{"path": "/a/b/c"}, {"path": "/other"}]}),
        ),
    ])
    .await;
    for (path, expected) in [
        ("/a/", Some(0)),
        ("/a/x", Some(0)),
        ("/a/bc", Some(0)),
        ("/a/b/", Some(1)),
        ("/a/b/cd", Some(1)),
        ("/a/b/x/c", Some(1)),
        ("/a/b/c/", Some(2)),
        ("/a/b/c/d", Some(2)),
        ("/other/x", Some(2)),
        ("/a/b/../x", Some(0)),
        ("/ab", None),
        ("/others/x", None),
        ("/A/x", None),
        ("/", None),
    ] {
        let (found, status) = reached(&apps, &cluster, None, path).await;
        // A path that climbs out of the prefix which its bytes begin with may be refused instead.
        if path.contains("..") && found.is_none() {
            assert!(matches!(status, 400 | 404), "{path}: {status}");
            continue;
        }
        assert_eq!(found, expected, "{path} ({status})");
        assert_eq!(found.is_none(), status == 404, "{path} ({status})");
    }
}

#[tokio::test]
async fn an_app_that_has_a_match_does_not_answer_below_apps() {
    let (apps, cluster) = apps(&[("only", json!({"match": [{"path": "/only"}]}))]).await;
    assert_eq!(reached(&apps, &cluster, None, "/only/x").await.0, Some(0));
    assert_eq!(
        reached(&apps, &cluster, None, "/apps/only/x").await,
        (None, 404)
    );
}

#[tokio::test]
async fn a_host_rule_beats_one_without_a_host() {
    let (apps, cluster) = apps(&[
        ("anywhere", json!({"match": [{"path": "/p"}]})),
        (
            "there",
            json!({"match": [{"host": "there.example", "path": "/p"}]}),
        ),
        ("whole", json!({"match": [{"host": "whole.example"}]})),
    ])
    .await;
    for (host, path, expected) in [
        ("there.example", "/p/x", Some(1)),
        ("THERE.Example", "/p/x", Some(1)),
        ("there.example:8080", "/p/x", Some(1)),
        ("elsewhere.example", "/p/x", Some(0)),
        ("there.example.evil.example", "/p/x", Some(0)),
        ("there.example", "/q", None),
        ("whole.example", "/", Some(2)),
        ("whole.example", "/deep/path", Some(2)),
        ("127.0.0.1", "/deep/path", None),
    ] {
        let (found, status) = reached(&apps, &cluster, Some(host), path).await;
        assert_eq!(found, expected, "{host} {path} ({status})");
    }
}

#[tokio::test]
async fn a_domain_gives_every_app_a_name_of_its_own() {
    let (app, cluster) =
        start(|builder| builder.coordinator(&json!({"domain": "apps.example.com"}))).await;
    for host in [
        "notes.apps.example.com",
        "NOTES.apps.example.com:8080",
        "notes.Apps.Example.Com",
    ] {
        let answer = cluster.get("/deep/path?x=1").host(host).send().await;
        assert_eq!(target(&answer), "/deep/path?x=1", "{host}");
    }
    assert_eq!(app.count(), 3);
    for host in [
        "unknown.apps.example.com",
        "apps.example.com",
        "notes.apps.example.com.evil.example",
        "x.notes.apps.example.com",
        "notesapps.example.com",
    ] {
        let answer = cluster.get("/deep/path").host(host).send().await;
        assert_eq!(answer.status, 404, "{host}");
    }
    let answer = cluster
        .get("/apps/notes/x")
        .host("other.example")
        .send()
        .await;
    assert_eq!(target(&answer), "/x");
}

#[tokio::test]
async fn an_unknown_app_returns_404_with_the_request_id() {
    let (app, cluster) = start_default().await;
    for path in [
        "/",
        "/apps",
        "/apps/",
        "/apps/nobody/",
        "/apps/notes2/x",
        "/apps/Notes/x",
    ] {
        let answer = cluster.get(path).id("unknown").send().await;
        assert_eq!(answer.status, 404, "{path}");
        assert_eq!(answer.problem_code(), "app_not_found", "{path}");
        assert_eq!(answer.request_id(), "unknown");
    }
    assert_eq!(app.count(), 0);
}

#[tokio::test]
async fn a_path_that_escapes_its_prefix_is_rejected() {
    let (app, cluster) = start_default().await;
    for path in [
        "/apps/notes/../../etc/passwd",
        "/apps/notes/..",
        "/apps/notes/../",
        "/apps/notes/%2e%2e/%2e%2e/etc",
        "/apps/notes/.%2e/x",
        "/apps/notes/%2E./x",
        "/apps/notes/..%2f..%2fetc",
        "/apps/notes/..%2F..%2Fetc",
        "/apps/notes/%2e%2e%2fapi%2fsecret",
        "/apps/notes/a/../../x",
        "/apps/notes/a/b/%2e%2e/%2e%2e/%2e%2e/x",
        "/apps/notes/./../x",
        "/../../..",
    ] {
        let answer = cluster.get(path).id("escape").send().await;
        assert!(
            matches!(answer.status, 400 | 404),
            "{path}: {} {}",
            answer.status,
            answer.text()
        );
        assert_eq!(answer.request_id(), "escape", "{path}");
    }
    assert_eq!(app.count(), 0, "{:?}", app.requests());
}

#[tokio::test]
async fn dot_segments_cannot_reach_another_app() {
    let (apps, cluster) = apps(&[("open", json!({})), ("secret", json!({}))]).await;
    for path in [
        "/apps/open/../secret/x",
        "/apps/open/%2e%2e/secret/x",
        "/apps/open/..%2fsecret/x",
        "/apps/open/a/../../secret/x",
    ] {
        let (found, status) = reached(&apps, &cluster, None, path).await;
        // The reached app must be the one that the normalised path names, and never `open`.
        assert_ne!(found, Some(0), "{path} ({status})");
        assert!(
            found == Some(1) || matches!(status, 400 | 404),
            "{path} ({status})"
        );
    }
}

#[tokio::test]
async fn a_bad_escape_in_the_path_returns_400() {
    let (app, cluster) = start_default().await;
    for path in [
        "/apps/notes/%zz",
        "/apps/notes/%",
        "/apps/notes/%4",
        "/apps/no%ztes/x",
        "/%gg",
    ] {
        let answer = cluster.get(path).id("bad-path").send().await;
        assert_eq!(answer.status, 400, "{path}");
        assert_eq!(answer.problem_code(), "bad_request", "{path}");
        assert_eq!(answer.request_id(), "bad-path");
    }
    assert_eq!(app.count(), 0);
}

#[tokio::test]
async fn an_encoded_nul_or_line_break_never_breaks_a_header() {
    let (_app, cluster) = start_default().await;
    for path in [
        "/apps/notes/%00",
        "/apps/notes/%0d%0aX-Evil:%201",
        "/apps/notes%0d%0aX-Evil:%201",
    ] {
        let answer = cluster.get(path).id("encoded").send().await;
        assert!(answer.status < 500, "{path}: {}", answer.status);
        assert!(!answer.headers.has("X-Evil"), "{path}");
        assert_eq!(answer.request_id(), "encoded");
    }
}

#[tokio::test]
async fn the_absolute_form_is_served_by_its_path_and_host() {
    let (app, cluster) =
        start(|builder| builder.coordinator(&json!({"domain": "apps.example.com"}))).await;
    let absolute = format!("http://{}/apps/notes/a%20b?x=1", cluster.public());
    let answer = cluster.get(&absolute).send().await;
    assert_eq!(target(&answer), "/a%20b?x=1");
    let answer = cluster
        .get("http://notes.apps.example.com/deep")
        .host("notes.apps.example.com")
        .send()
        .await;
    assert_eq!(target(&answer), "/deep");
    assert_eq!(app.count(), 2);
    // RFC 9112, section 3.2.2 would use the target's host; the framework rejects a request that
    // contradicts itself.
    let answer = cluster
        .get("http://notes.apps.example.com/deep")
        .host("other.example")
        .send()
        .await;
    assert_eq!(answer.status, 400);
    answer.request_id();
    assert_eq!(app.count(), 2);
}

#[tokio::test]
async fn the_asterisk_form_is_answered_and_not_forwarded() {
    let (app, cluster) = start_default().await;
    let answer = cluster.request("OPTIONS", "*").id("asterisk").send().await;
    assert!(answer.status < 500, "{}", answer.status);
    assert_eq!(answer.request_id(), "asterisk");
    assert_eq!(app.count(), 0);
}

#[tokio::test]
async fn double_slashes_before_the_prefix_do_no_harm() {
    let (app, cluster) = start_default().await;
    for path in ["//apps/notes/x", "/apps//notes/x", "///"] {
        let answer = cluster.get(path).id("slashes").send().await;
        assert!(answer.status < 500, "{path}: {}", answer.status);
        assert_eq!(answer.request_id(), "slashes");
    }
    for seen in app.requests() {
        assert!(seen.target.starts_with('/'), "{}", seen.target);
    }
}

#[tokio::test]
async fn reserved_paths_never_reach_an_app() {
    let (apps, cluster) = apps(&[("root", json!({"match": [{"path": "/"}]}))]).await;
    assert_eq!(reached(&apps, &cluster, None, "/anything").await.0, Some(0));
    for (path, status) in [
        ("/.app-proxy/healthz", 200),
        ("/.app-proxy/", 404),
        ("/.app-proxy/other", 404),
        ("/%2eapp-proxy/healthz", 200),
    ] {
        let (found, answered) = reached(&apps, &cluster, None, path).await;
        assert_eq!(found, None, "{path}");
        if !path.contains('%') {
            assert_eq!(answered, status, "{path}");
        }
    }
}

#[tokio::test]
async fn health_of_the_public_listener_needs_no_app() {
    let cluster = Cluster::builder().workers(0).start_unready().await;
    let answer = cluster.get("/.app-proxy/healthz").send().await;
    assert_eq!(answer.status, 200);
    answer.request_id();
}

#[tokio::test]
async fn an_app_among_thousands_is_found() {
    let app = RecordingApp::start().await;
    let mut builder = Cluster::builder();
    for n in 0..3000 {
        builder = builder.app_at(&format!("app{n}"), app.addr());
    }
    let cluster = builder.start().await;
    for n in [0, 1499, 2999] {
        let answer = cluster.get(&format!("/apps/app{n}/x")).send().await;
        assert_eq!(target(&answer), "/x");
    }
    assert_eq!(cluster.get("/apps/app3000/x").send().await.status, 404);
}

#[tokio::test]
async fn http2_requests_are_routed_by_path_and_authority() {
    let (app, cluster) = start(|builder| {
        builder
            .h2c()
            .coordinator(&json!({"domain": "apps.example.com"}))
    })
    .await;
    let client = cluster.h2_client().await;
    assert_eq!(
        target(&client.get("/apps/notes/a%20b?x", &[]).await),
        "/a%20b?x"
    );
    assert_eq!(client.get("/apps/unknown/", &[]).await.status, 404);
    assert_eq!(client.get("/apps/notes/../x", &[]).await.status / 100, 4);
    // The listener with h2c speaks HTTP/1.1 as well.
    let mut one = app_proxy_tests::http1::Client::connect(cluster.h2c()).await;
    let answer = one.get("/deep").host("notes.apps.example.com").send().await;
    assert_eq!(target(&answer), "/deep");
    assert_eq!(app.count(), 2);
}
