//! The policy of identifiers of an embedder.

use std::net::IpAddr;
use std::sync::Arc;

use app_proxy_hop::exchange::Policies;
use app_proxy_hop::identity::{EstablishedId, Identify, InvalidId, RequestId};
use http::HeaderMap;

use crate::application;
use crate::client::{get, handshake, raw, request};
use crate::recorder::Recorder;
use crate::tier::serve;

/// Puts `site:` before each identifier.
struct Site;

impl Identify for Site {
    fn identify(&self, headers: &HeaderMap, _peer: Option<IpAddr>) -> EstablishedId {
        let inbound = headers.get("x-backend-request-id");
        let inbound = inbound.and_then(|value| value.to_str().ok());
        assert_ne!(inbound, Some("panic"));
        let own = RequestId::generate();
        match format!("site:{}", inbound.unwrap_or(own.as_str())).parse() {
            Ok(id) => EstablishedId::new(id),
            Err(_) => EstablishedId::generate().replacing(InvalidId::Malformed, 0),
        }
    }
}

fn policies(recorder: &Recorder) -> Policies {
    Policies {
        identify: Some(Arc::new(Site)),
        ..recorder.policies()
    }
}

#[tokio::test]
async fn the_policy_of_an_embedder_gives_each_request_its_identifier() {
    let recorder = Recorder::default();
    let tier = serve(application::start().await, policies(&recorder)).await;
    let at = tier.address;
    let answer = get(at, "/hello", "one").await;
    assert_eq!(answer.id(), "site:one");
    assert_eq!(answer.body(), b"site:one", "the application gets it too");
    for refused in [
        get(at, "/nowhere", "two").await,
        raw(at, handshake("three").replace("13", "8")).await,
    ] {
        assert!(["site:two", "site:three"].contains(&refused.id()));
        let body = String::from_utf8(refused.body()).unwrap();
        assert!(body.contains(refused.id()), "{body}");
    }
    recorder.after("site:three").await;
    let logged: Vec<_> = tier.lines();
    assert!(
        logged
            .iter()
            .all(|line| line["request_id"].as_str().unwrap().starts_with("site:"))
    );
}

#[tokio::test]
async fn a_header_block_that_cannot_be_parsed_gets_an_identifier_of_the_policy() {
    let recorder = Recorder::default();
    let tier = serve(application::start().await, policies(&recorder)).await;
    let answer = raw(tier.address, "GET / HTTP/1.1\r\nno header\r\n\r\n").await;
    assert_eq!(answer.status(), 400);
    assert!(answer.id().starts_with("site:"), "{}", answer.id());
    recorder.after(answer.id()).await;
}

#[tokio::test]
async fn an_invalid_identifier_never_passes_a_policy() {
    let recorder = Recorder::default();
    let tier = serve(application::start().await, policies(&recorder)).await;
    let answer = raw(tier.address, request("/hello", "not valid")).await;
    let id: RequestId = answer.id().parse().unwrap();
    assert_eq!(answer.body(), id.as_str().as_bytes());
    let steps = recorder.after(id.as_str()).await.steps;
    assert_eq!(steps[id.as_str()], ["id_replaced", "request"]);
}

#[tokio::test]
async fn a_request_whose_policy_panics_gets_a_generated_identifier() {
    let recorder = Recorder::default();
    let tier = serve(application::start().await, policies(&recorder)).await;
    let answer = get(tier.address, "/hello", "panic").await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.id().len(), 36);
    assert_eq!(tier.lines()[0]["request_id"], answer.id());
}
