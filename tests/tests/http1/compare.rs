//! The comparison of a case with its outcome.

use crate::app::{Arrival, Recorded};
use app_proxy_tests::corpus::{Expected, Field, show};
use app_proxy_tests::strict::{Ending, Fields, Message};

/// Compares the requests at the application. Parts of requests are the proxy's right: it forwards a
/// body as it comes, and notices a fault in it later.
#[must_use]
pub(crate) fn requests(expected: &[Expected], arrivals: &[Recorded]) -> Vec<String> {
    let mut faults = Vec::new();
    let mut seen = Vec::new();
    for recorded in arrivals {
        match &recorded.arrival {
            Arrival::Request(message) => seen.push(message),
            Arrival::Invalid(fault) => faults.push(format!("the application: {fault}")),
            Arrival::Partial => {}
        }
    }
    let lines: Vec<String> = seen
        .iter()
        .map(|message| show(&message.request()))
        .collect();
    if seen.len() != expected.len() {
        faults.push(format!(
            "{} requests at the application, not {}: {}",
            seen.len(),
            expected.len(),
            lines.join(", ")
        ));
    }
    for (expected, message) in expected.iter().zip(seen) {
        if message.request() != expected.line {
            let (seen, wanted) = (show(&message.request()), show(&expected.line));
            faults.push(format!("the application saw {seen}, not {wanted}"));
        }
        parts("the request", expected, message, &mut faults);
    }
    faults
}

/// Compares a response at the client.
#[must_use]
pub(crate) fn response(expected: &Expected, message: &Message) -> Vec<String> {
    let mut faults = Vec::new();
    if expected.or_502 && message.word(1) == b"502" {
        return faults;
    }
    if message.word(1) != expected.line {
        let (line, status) = (show(&message.line), show(&expected.line));
        faults.push(format!(
            "the answer is {line}, not {status}: {}",
            show(&message.body)
        ));
        return faults;
    }
    parts("the response", expected, message, &mut faults);
    if (message.ending == Ending::Truncated) != expected.truncated {
        faults.push(format!("the response ends: {:?}", message.ending));
    }
    faults
}

fn parts(what: &str, expected: &Expected, message: &Message, faults: &mut Vec<String>) {
    fields(what, &expected.fields, &message.fields, faults);
    fields(
        "the trailers",
        &expected.trailers,
        &message.trailers,
        faults,
    );
    if let Some(body) = &expected.body
        && *body != message.body
    {
        let (seen, wanted) = (show(&message.body), show(body));
        faults.push(format!("{what} has the body {seen}, not {wanted}"));
    }
}

fn fields(what: &str, expected: &[Field], fields: &Fields, faults: &mut Vec<String>) {
    for field in expected {
        let (name, wanted): (_, &[_]) = match field {
            Field::Is(name, values) => (name, values),
            Field::Absent(name) => (name, &[]),
        };
        let named = fields.iter().filter(|(key, _)| key == name);
        let values: Vec<&[u8]> = named.map(|(_, value)| value.as_slice()).collect();
        if values != wanted {
            let values: Vec<String> = values.into_iter().map(show).collect();
            let wanted: Vec<String> = wanted.iter().map(|value| show(value)).collect();
            faults.push(format!("{what} has {name}: {values:?}, not {wanted:?}"));
        }
    }
}
