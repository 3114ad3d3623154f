//! What became of an input.

use std::collections::BTreeMap;

use app_proxy_tests::strict::{self, Message, Read};

use super::recorder::Arrival;

/// Fields that concern one connection, or that a proxy sets itself.
const OWN: [&str; 11] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// A request at the application, without its framing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// The method.
    pub(crate) method: Vec<u8>,
    /// The target, in origin form.
    pub(crate) target: Vec<u8>,
    /// `Host`.
    pub(crate) host: Vec<u8>,
    /// End-to-end fields; the order of names does not matter.
    pub(crate) fields: BTreeMap<String, Vec<Vec<u8>>>,
    /// The content.
    pub(crate) body: Vec<u8>,
}

/// What became of an input.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    /// The requests at the application.
    pub(crate) requests: Vec<Seen>,
    /// The fault of the first request that a strict application refuses.
    pub(crate) invalid: Option<String>,
    /// The statuses of the final responses at the client.
    pub(crate) statuses: Vec<u16>,
    /// A fault in what the client received.
    pub(crate) garbled: Option<String>,
    /// The client's connection was closed.
    pub(crate) closed: bool,
}

impl Outcome {
    pub(super) fn new(arrivals: Vec<Arrival>, answer: Vec<u8>, closed: bool) -> Self {
        let mut outcome = Self {
            closed,
            ..Self::default()
        };
        for arrival in arrivals {
            match arrival {
                Arrival::Request(message) if outcome.invalid.is_none() => {
                    outcome.requests.push(Seen::of(&message));
                }
                Arrival::Request(_) => {}
                Arrival::Invalid(fault) => {
                    outcome.invalid.get_or_insert(fault);
                }
            }
        }
        outcome.read_answer(&answer);
        outcome
    }

    /// Reads the responses. Those to HEAD are the ones of the application, in the order of the
    /// requests.
    pub(super) fn read_answer(&mut self, mut answer: &[u8]) {
        while !answer.is_empty() {
            let request = self.requests.get(self.statuses.len());
            let method = request.map_or(&b"GET"[..], |request| &request.method);
            match strict::response(answer, method, true) {
                Read::Whole(message, length) => {
                    if message.status() >= 200 {
                        self.statuses.push(message.status());
                    }
                    answer = &answer[length..];
                }
                // A response to a rejected HEAD has a length without content.
                Read::Partial | Read::Invalid(_) if self.is_refused() => return,
                Read::Partial => return,
                Read::Invalid(fault) => {
                    self.garbled = Some(fault);
                    return;
                }
            }
        }
    }

    /// Returns whether the proxy refused to read on.
    #[must_use]
    pub(crate) fn is_refused(&self) -> bool {
        self.closed || self.statuses.last().is_some_and(|status| *status >= 400)
    }
}

impl Seen {
    fn of(message: &Message) -> Self {
        let mut fields = BTreeMap::new();
        for (name, value) in &message.fields {
            add(&mut fields, name, value);
        }
        Self {
            method: message.word(0).to_vec(),
            target: message.word(1).to_vec(),
            host: message.all("host").concat(),
            fields,
            body: message.body.clone(),
        }
    }
}

/// Adds an end-to-end field.
pub(super) fn add(fields: &mut BTreeMap<String, Vec<Vec<u8>>>, name: &str, value: &[u8]) {
    if !OWN.contains(&name) {
        let values: &mut Vec<_> = fields.entry(name.to_owned()).or_default();
        values.push(value.to_vec());
    }
}
