//! The policies of a program around a worker.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use std::io::{Read, Write};
use std::net::{IpAddr, TcpStream};
use std::sync::{Arc, Mutex};

use app_proxy_worker::{
    Config, EstablishedId, Event, HeaderMap, Identify, Observe, RequestId, Worker,
};

/// Puts `site:` before each identifier, and believes everybody.
struct Site;

impl Identify for Site {
    fn identify(&self, headers: &HeaderMap, _peer: Option<IpAddr>) -> EstablishedId {
        let inbound = headers.get("x-backend-request-id");
        let inbound = inbound.and_then(|value| value.to_str().ok());
        let own = RequestId::generate();
        let id = format!("site:{}", inbound.unwrap_or(own.as_str()));
        EstablishedId::new(id.parse().unwrap())
    }
}

/// The identifier and the status of a request.
type Ended = (String, Option<u16>);

#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<Vec<Ended>>>);

impl Observe for Recorder {
    fn event(&self, event: &Event<'_>) {
        let recorded = (event.request_id().to_string(), event.status());
        self.0.lock().unwrap().push(recorded);
    }
}

/// Returns the identifier of a response.
fn get(address: &str, headers: &str) -> String {
    let mut connection = TcpStream::connect(address).unwrap();
    write!(
        connection,
        "GET /proxy/unknown/ HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{headers}\r\n"
    )
    .unwrap();
    let mut response = String::new();
    connection.read_to_string(&mut response).unwrap();
    let response = response.to_lowercase();
    let mut lines = response.lines();
    let id = lines.find_map(|line| line.strip_prefix("x-backend-request-id: "));
    id.unwrap().to_owned()
}

#[test]
fn rule_06_a_policy_gives_strangers_an_identifier_of_the_workers_own_and_coordinators_keep_theirs()
{
    let folder = tempfile::tempdir().unwrap();
    let token = "a secret that both tiers have";
    std::fs::write(folder.path().join("token"), token).unwrap();
    let text = "version: 1\n\
         worker:\n\
         \x20 id: w1\n\
         \x20 listener: {address: '127.0.0.1:0'}\n\
         \x20 admin: {address: '127.0.0.1:0'}\n\
         \x20 coordinators: ['http://127.0.0.1:9']\n\
         \x20 register: false\n\
         \x20 token_file: token\n\
         \x20 access_log: {path: access.log}\n";
    let config = Config::parse(text, folder.path()).unwrap();
    let recorder = Recorder::default();
    let running = Worker::builder(config)
        .identify(Site)
        .observe(recorder.clone())
        .build()
        .unwrap()
        .start()
        .unwrap();
    let at = running.addresses.proxy.to_string();

    let stranger = get(&at, "X-Backend-Request-ID: theirs\r\n");
    assert!(
        stranger.starts_with("site:") && !stranger.contains("theirs"),
        "{stranger}"
    );
    let authentic = format!("X-App-Proxy-Token: {token}\r\n");
    assert_eq!(
        get(&at, &format!("{authentic}X-Backend-Request-ID: theirs\r\n")),
        "theirs"
    );
    let missing = get(&at, &authentic);
    assert!(missing.starts_with("site:"), "{missing}");
    running.stop();

    let recorded = recorder.0.lock().unwrap().clone();
    let ids: Vec<&str> = recorded.iter().map(|(id, _)| id.as_str()).collect();
    assert_eq!(ids, [stranger.as_str(), "theirs", missing.as_str()]);
    assert_eq!(recorded[0].1, Some(403));
}
