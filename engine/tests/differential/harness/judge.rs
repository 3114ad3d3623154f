//! The comparison of the engine with another implementation, and the list of known differences.

use app_proxy_tests::corpus::show;

use super::outcome::{Outcome, Seen};

/// The relation of the engine to another implementation, for one input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The same requests.
    Equal,
    /// The engine saw the first of them, and refused the rest.
    Stricter,
    /// A known difference, by its name.
    Known(&'static str),
    /// A fault of the engine, or a difference that is not in the list.
    Fault(String),
}

/// A difference: the first requests that are not equal.
#[derive(Debug)]
pub(crate) struct First<'a> {
    /// All that the client sent.
    pub(crate) input: &'a [u8],
    /// The engine's request; `None`: it saw none.
    pub(crate) engine: Option<&'a Seen>,
    /// The other's; `None`: it saw none.
    pub(crate) other: Option<&'a Seen>,
    /// The other sent something that a strict application refuses.
    pub(crate) invalid: Option<&'a str>,
    /// The last status that the other answered.
    pub(crate) last_status: Option<u16>,
}

/// A known difference in which the engine is not the stricter one.
pub(crate) struct Difference {
    /// Its name.
    pub(crate) name: &'static str,
    /// The reason why the engine is right.
    pub(crate) reason: &'static str,
    applies: fn(&First<'_>) -> bool,
}

/// The known differences in which the engine is not the stricter one.
pub(crate) const KNOWN: &[Difference] = &[
    Difference {
        name: "characters of a target",
        reason: "Clients send `<`, `>`, `\"`, `{`, `|` and bytes beyond ASCII, and other proxies \
            forward them. The parsers of the others refuse them; the engine forwards the bytes.",
        applies: |first| {
            let odd = |byte: &u8| !byte.is_ascii() || b"<>\"`{}|\\^[]".contains(byte);
            first.engine.is_some_and(|seen| seen.target.iter().any(odd))
        },
    },
    Difference {
        name: "minor versions",
        reason: "RFC 9110, section 2.5: HTTP/1.2 is to be treated as HTTP/1.1.",
        applies: |first| {
            let newer =
                |bytes: &[u8]| bytes.starts_with(b"HTTP/1.") && (b'2'..=b'9').contains(&bytes[7]);
            first.engine.is_some() && first.input.windows(8).any(newer)
        },
    },
    Difference {
        name: "canonical lengths",
        reason: "RFC 9110, section 8.6: `05` is the number 5. Pingora forwards it as it is, the \
            engine writes the number.",
        applies: |first| {
            let is_length = |fault: &str| fault.starts_with("a length: \"0");
            first.engine.is_some() && first.invalid.is_some_and(is_length)
        },
    },
    Difference {
        name: "absolute form",
        reason: "RFC 9112, section 3.2.2: the authority of a target in absolute form is the Host, \
            whatever its case and default port. Pingora forwards the form and rejects another \
            case; hyper leaves the Host as it is.",
        applies: |first| {
            let lower = first.input.to_ascii_lowercase();
            first.engine.is_some() && (has(&lower, b" http://") || has(&lower, b" https://"))
        },
    },
    Difference {
        name: "limits",
        reason: "hyper accepts 100 header lines; the engine accepts as many as its gateway says.",
        applies: |first| first.engine.is_some() && first.last_status == Some(431),
    },
    Difference {
        name: "the syntax of Host",
        reason: "The phases check it (both tiers do). Pingora refuses some values itself.",
        applies: |first| {
            let odd = |byte: &u8| !byte.is_ascii_alphanumeric() && !b".-:[]".contains(byte);
            let is_odd = |seen: &Seen| seen.host.is_empty() || seen.host.iter().any(odd);
            first.other.is_none() && first.engine.is_some_and(is_odd)
        },
    },
    Difference {
        name: "connection options",
        reason: "RFC 9110, section 7.6.1: a field for all recipients is no connection option. The \
            engine keeps Host; Pingora removes it and then misses it. The engine ignores an option \
            that is no name; Pingora refuses the request.",
        applies: |first| {
            let lower = first.input.to_ascii_lowercase();
            first.other.is_none()
                && first.engine.is_some()
                && first.last_status == Some(400)
                && has(&lower, b"connection:")
        },
    },
    Difference {
        name: "CONNECT",
        reason: "The phases reject it, and the engine serves the next request, which is whole. \
            Pingora closes the connection; hyper's service gets it.",
        applies: |first| has(first.input, b"CONNECT "),
    },
];

fn has(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// Compares the engine's outcome with another's.
#[must_use]
pub(crate) fn judge(input: &[u8], engine: &Outcome, other: &Outcome) -> Verdict {
    if let Some(fault) = &engine.invalid {
        return Verdict::Fault(format!("the engine sent an invalid request: {fault}"));
    }
    if let Some(fault) = &engine.garbled {
        return Verdict::Fault(format!("the engine sent an invalid response: {fault}"));
    }
    let pairs = engine.requests.iter().zip(&other.requests);
    let same = pairs.take_while(|(ours, theirs)| ours == theirs).count();
    let first = First {
        input,
        engine: engine.requests.get(same),
        other: other.requests.get(same),
        invalid: other.invalid.as_deref(),
        last_status: other.statuses.last().copied(),
    };
    match (first.engine, first.other) {
        (None, None) if other.invalid.is_none() => Verdict::Equal,
        // The other has sent nothing more that an application would accept.
        (None, None) => Verdict::Stricter,
        (None, _) if engine.is_refused() => Verdict::Stricter,
        _ => match KNOWN.iter().find(|known| (known.applies)(&first)) {
            Some(known) => Verdict::Known(known.name),
            None => Verdict::Fault(describe(engine, other, same)),
        },
    }
}

fn describe(engine: &Outcome, other: &Outcome, same: usize) -> String {
    format!(
        "after {same} equal requests\n  the engine: {}\n  the other: {}",
        describe_one(engine, same),
        describe_one(other, same)
    )
}

fn describe_one(outcome: &Outcome, same: usize) -> String {
    let request = outcome.requests.get(same).map_or_else(
        || "no request".to_owned(),
        |seen| {
            let fields: Vec<String> = seen
                .fields
                .iter()
                .map(|(name, values)| format!("{name}: {}", show(&values.join(&b"; "[..]))))
                .collect();
            format!(
                "{} {}, Host {}, body {}, {}",
                show(&seen.method),
                show(&seen.target),
                show(&seen.host),
                show(&seen.body),
                fields.join(", ")
            )
        },
    );
    let closed = if outcome.closed { "closed" } else { "open" };
    let invalid = outcome.invalid.as_deref().unwrap_or("nothing invalid");
    format!(
        "{request}; {} in all, {invalid}; answers {:?}, {closed}",
        outcome.requests.len(),
        outcome.statuses
    )
}
