//! Connections that an application authenticates instead of requests (NTLM, Negotiate).

use std::net::SocketAddr;

use app_proxy_tests::cluster::{Cluster, ClusterBuilder};
use app_proxy_tests::http1::{Client, Response};
use app_proxy_tests::wire::Wire;
use serde_json::json;
use tokio::net::TcpListener;

use super::support::request;

/// An application that authenticates connections: a request with a token says whose it is from then
/// on.
async fn authenticating() -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(authenticate(Wire::new(stream)));
        }
    });
    addr
}

async fn authenticate(mut wire: Wire) {
    let mut user = "nobody".to_owned();
    while let Ok(Some(head)) = wire.take_through(b"\r\n\r\n").await {
        let head = String::from_utf8_lossy(&head).into_owned();
        let authorization = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("authorization")
                .then(|| value.trim())
        });
        let mut words = authorization.unwrap_or_default().split(' ');
        let (scheme, token) = (words.next().unwrap_or_default(), words.next());
        let answer = match token {
            Some("type1") => format!(
                "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: {scheme} type2\r\n\
                 Content-Length: 0\r\n\r\n"
            ),
            Some(name) if !scheme.eq_ignore_ascii_case("basic") => {
                name.clone_into(&mut user);
                hello(&user)
            }
            _ => hello(&user),
        };
        if wire.try_send(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

fn hello(user: &str) -> String {
    let body = format!("hello {user}");
    format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

async fn ask_as(client: &mut Client, authorization: &str) -> Response {
    let lines = match authorization {
        "" => String::new(),
        value => format!("Authorization: {value}\r\n"),
    };
    client
        .send(request("GET", "/apps/auth/", "auth", &lines, ""))
        .await;
    client.read_response("GET").await
}

async fn authenticating_cluster(
    configure: impl FnOnce(ClusterBuilder) -> ClusterBuilder,
) -> Cluster {
    let addr = authenticating().await;
    // One thread, so that a connection that was kept would be used again.
    let builder =
        Cluster::builder()
            .threads(1)
            .app_with("auth", addr, &json!({"affinity": "none"}));
    configure(builder).start().await
}

#[tokio::test]
async fn a_connection_that_an_application_has_authenticated_belongs_to_its_client() {
    let cluster = authenticating_cluster(|builder| builder).await;
    for scheme in ["NTLM", "ntlm", "Negotiate", "NEGOTIATE"] {
        let (mut alice, mut bob) = (cluster.client().await, cluster.client().await);
        let challenge = ask_as(&mut alice, &format!("{scheme} type1")).await;
        assert_eq!(challenge.status, 401);
        // The challenge is bound to its connection already.
        assert_eq!(
            ask_as(&mut bob, "").await.text(),
            "hello nobody",
            "{scheme}"
        );
        let accepted = ask_as(&mut alice, &format!("{scheme} alice")).await;
        assert_eq!(accepted.text(), "hello alice", "{scheme}");
        assert_eq!(
            ask_as(&mut bob, "").await.text(),
            "hello nobody",
            "{scheme}"
        );
        // Alice does not say again who she is.
        for _ in 0..3 {
            assert_eq!(
                ask_as(&mut alice, "").await.text(),
                "hello alice",
                "{scheme}"
            );
            assert_eq!(
                ask_as(&mut bob, "").await.text(),
                "hello nobody",
                "{scheme}"
            );
        }
        // Bob authenticates a connection of his own.
        let accepted = ask_as(&mut bob, &format!("{scheme} bob")).await;
        assert_eq!(accepted.text(), "hello bob", "{scheme}");
        assert_eq!(
            ask_as(&mut alice, "").await.text(),
            "hello alice",
            "{scheme}"
        );
        drop((alice, bob));
        for _ in 0..10 {
            let mut carol = cluster.client().await;
            assert_eq!(
                ask_as(&mut carol, "").await.text(),
                "hello nobody",
                "{scheme}"
            );
        }
    }
}

#[tokio::test]
async fn another_scheme_authenticates_requests_and_shares_connections() {
    let cluster = authenticating_cluster(|builder| builder).await;
    let mut client = cluster.client().await;
    for (n, authorization) in ["Basic alice", "Bearer x", "NTLMx y", ""]
        .into_iter()
        .enumerate()
    {
        ask_as(&mut client, authorization).await;
        let mut other = cluster.client().await;
        ask_as(&mut other, "").await;
        let log = cluster.worker_log(0);
        let lines = log
            .wait_for_count("requests", 2 * (n + 1), |line| line["event"] == "request")
            .await;
        let reused = lines
            .iter()
            .filter(|line| line["connection_reused"] == true);
        assert_eq!(reused.count(), 2 * (n + 1) - 1, "{authorization}");
    }
}

#[tokio::test]
async fn clients_of_http2_do_not_share_an_authenticated_connection() {
    let cluster = authenticating_cluster(ClusterBuilder::h2c).await;
    let alice = cluster.h2_client().await;
    let headers = [("authorization", "NTLM alice")];
    let accepted = alice.get("/apps/auth/", &headers).await;
    assert_eq!(accepted.text(), "hello alice");
    for _ in 0..5 {
        let bob = cluster.h2_client().await;
        assert_eq!(bob.get("/apps/auth/", &[]).await.text(), "hello nobody");
        let mut carol = cluster.client().await;
        assert_eq!(ask_as(&mut carol, "").await.text(), "hello nobody");
    }
}
