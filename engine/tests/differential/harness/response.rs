//! What became of the bytes of an application, as the client sees it.

use std::collections::BTreeMap;

use app_proxy_tests::corpus::show;
use app_proxy_tests::strict::{self, Ending, Message, Read};

use super::judge::Verdict;

/// Fields that concern one connection, that a proxy sets itself, or that phases remove.
const OWN: [&str; 10] = [
    "connection",
    "content-length",
    "date",
    "keep-alive",
    "proxy-authenticate",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// The answer that a client received to its only request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    /// The final response; `None`: the connection was closed without one, or still waits.
    pub(crate) last: Option<Message>,
    /// A fault in what the client received.
    pub(crate) garbled: Option<String>,
}

impl Answer {
    pub(super) fn new(mut bytes: &[u8], method: &[u8], closed: bool) -> Self {
        let mut answer = Self::default();
        while answer.last.is_none() && !bytes.is_empty() {
            match strict::response(bytes, method, closed) {
                Read::Whole(message, length) => {
                    bytes = &bytes[length..];
                    if message.status() >= 200 {
                        answer.last = Some(*message);
                    }
                }
                Read::Partial => break,
                Read::Invalid(fault) => {
                    answer.garbled = Some(fault);
                    break;
                }
            }
        }
        if answer.last.is_some() && !bytes.is_empty() {
            answer.garbled = Some(format!("behind the response: {}", show(bytes)));
        }
        answer
    }

    /// Returns whether the proxy did not pass the response, or not whole.
    fn is_refused(&self) -> bool {
        self.last
            .as_ref()
            .is_none_or(|last| last.status() == 502 || last.ending == Ending::Truncated)
    }
}

/// A known difference in which the engine is not the stricter one.
pub(crate) struct Difference {
    /// Its name.
    pub(crate) name: &'static str,
    /// The reason why the engine is right.
    pub(crate) reason: &'static str,
    applies: fn(&[u8], &Answer, &Answer) -> bool,
}

/// The known differences in which the engine is not the stricter one.
pub(crate) const KNOWN: &[Difference] = &[
    Difference {
        name: "responses that Pingora garbles",
        reason: "Pingora passes on what a strict client refuses: repeated and uncanonical lengths, \
            a length of a 204 or of an interim response, codings that are not chunked.",
        applies: |_, _, other| other.garbled.is_some(),
    },
    Difference {
        name: "minor versions",
        reason: "RFC 9110, section 2.5: HTTP/1.2 is to be treated as HTTP/1.1.",
        applies: |input, _, other| {
            let newer = |bytes: &[u8]| bytes.starts_with(b"HTTP/1.") && bytes[7] > b'1';
            other.is_refused() && input.windows(8).any(newer)
        },
    },
];

/// Compares the response that a client got through the engine with the one through Pingora's loop.
#[must_use]
pub(crate) fn judge_answers(input: &[u8], engine: &Answer, other: &Answer) -> Verdict {
    if let Some(fault) = &engine.garbled {
        return Verdict::Fault(format!("the engine sent an invalid response: {fault}"));
    }
    if engine.is_refused() {
        return if other.is_refused() {
            Verdict::Equal
        } else {
            Verdict::Stricter
        };
    }
    if let (Some(ours), Some(theirs)) = (&engine.last, &other.last)
        && other.garbled.is_none()
        && is_same(ours, theirs)
    {
        return Verdict::Equal;
    }
    match KNOWN
        .iter()
        .find(|known| (known.applies)(input, engine, other))
    {
        Some(known) => Verdict::Known(known.name),
        None => Verdict::Fault(format!(
            "the engine: {}\n  the other: {}",
            describe(engine),
            describe(other)
        )),
    }
}

fn is_same(ours: &Message, theirs: &Message) -> bool {
    ours.status() == theirs.status()
        && ours.body == theirs.body
        && theirs.ending != Ending::Truncated
        && fields(ours) == fields(theirs)
}

fn fields(message: &Message) -> BTreeMap<&str, Vec<&[u8]>> {
    let mut fields: BTreeMap<&str, Vec<&[u8]>> = BTreeMap::new();
    for (name, value) in &message.fields {
        if !OWN.contains(&name.as_str()) {
            fields.entry(name).or_default().push(value);
        }
    }
    fields
}

fn describe(answer: &Answer) -> String {
    let Some(last) = &answer.last else {
        return format!("no response, {:?}", answer.garbled);
    };
    let fields: Vec<String> = fields(last)
        .iter()
        .map(|(name, values)| format!("{name}: {}", show(&values.join(&b"; "[..]))))
        .collect();
    format!(
        "{}, body {}, {}, {:?}, {:?}",
        show(&last.line),
        show(&last.body),
        fields.join(", "),
        last.ending,
        answer.garbled
    )
}
