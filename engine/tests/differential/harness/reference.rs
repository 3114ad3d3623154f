//! hyper's server as an application.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::duplex;

use super::outcome::{Outcome, Seen, add};
use super::{BUFFER, SETTLED, talk};

/// Sends `input` to hyper's server, and returns what its service saw.
pub(super) async fn hyper(input: &[u8]) -> Outcome {
    let (client, server) = duplex(BUFFER);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let record = Arc::clone(&seen);
    let service = service_fn(move |request: Request<Incoming>| {
        let record = Arc::clone(&record);
        async move {
            if let Some(request) = read(request).await {
                record.lock().unwrap().push(request);
            }
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"ok"))))
        }
    });
    let connection = http1::Builder::new().serve_connection(TokioIo::new(server), service);
    let served = tokio::spawn(connection);
    let (answer, closed) = talk(client, input).await;
    tokio::time::sleep(SETTLED).await;
    served.abort();
    let mut outcome = Outcome {
        requests: std::mem::take(&mut *seen.lock().unwrap()),
        closed,
        ..Outcome::default()
    };
    outcome.read_answer(&answer);
    outcome
}

/// Reads a request whole; `None` if its body is invalid.
async fn read(request: Request<Incoming>) -> Option<Seen> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.ok()?.to_bytes();
    let mut fields = BTreeMap::new();
    let named = options(&parts.headers);
    for (name, value) in &parts.headers {
        if named.iter().any(|option| option == name.as_str()) {
            continue;
        }
        add(&mut fields, name.as_str(), value.as_bytes());
    }
    let path = parts.uri.path_and_query().map_or("", |path| path.as_str());
    let host = parts.headers.get("host");
    // As for the proxies: the application's Host if there is none.
    let host = host.map_or(&b"none.example"[..], |host| host.as_bytes());
    Some(Seen {
        method: parts.method.as_str().as_bytes().to_vec(),
        target: path.as_bytes().to_vec(),
        host: host.to_vec(),
        fields,
        body: body.to_vec(),
    })
}

/// The names that `Connection` lists: a proxy does not forward them.
fn options(headers: &HeaderMap) -> Vec<String> {
    let values = headers.get_all("connection").into_iter();
    let texts = values.map(|value| String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase());
    texts
        .flat_map(|text| {
            let options = text.split(',');
            options
                .map(|option| option.trim().to_owned())
                .collect::<Vec<_>>()
        })
        .collect()
}
