//! The corpus of raw messages in `tests/fixtures/http1/`: requests as a client sends them and
//! responses as an application sends them, each with its outcome. The README there has the format.

mod escape;
mod parse;

use std::collections::HashSet;
use std::path::PathBuf;

pub use escape::show;

/// A step of a script: what a client or an application does on its connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Sends bytes in one write.
    Send(Vec<u8>),
    /// Lets the proxy read what was sent before.
    Pause,
    /// Waits for the head of the next response.
    Wait,
    /// Closes the sending half of the connection.
    Finish,
    /// Ends the connection with a RST.
    Reset,
}

/// An expected header or trailer field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    /// Lines of this name with these values, in this order, and no others.
    Is(String, Vec<Vec<u8>>),
    /// No line.
    Absent(String),
}

/// An expected message: a request at the application, or a response at the client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    /// `GET /path`, or the status.
    pub line: Vec<u8>,
    /// Header fields of note.
    pub fields: Vec<Field>,
    /// Trailer fields of note.
    pub trailers: Vec<Field>,
    /// The body; `None`: not compared.
    pub body: Option<Vec<u8>>,
    /// The message does not end as its framing says.
    pub truncated: bool,
    /// A 502 is right as well: the fault may be noticed before or behind the head.
    pub or_502: bool,
}

/// A case of the corpus.
#[derive(Clone, Debug, Default)]
pub struct Case {
    /// The file and the line of its title.
    pub place: String,
    /// The behaviour, unique in the corpus.
    pub name: String,
    /// The RFC and its section.
    pub section: String,
    /// The client.
    pub client: Vec<Step>,
    /// The application's answer to each request; empty: a 200.
    pub app: Vec<Step>,
    /// Requests at the application, in their order.
    pub requests: Vec<Expected>,
    /// Responses at the client, in their order.
    pub responses: Vec<Expected>,
    /// The proxy keeps the client's connection open; `None`: not compared.
    pub kept: Option<bool>,
    /// The proxy may use the application's connection again; `None`: not compared.
    pub reused: Option<bool>,
    /// The application answers as soon as it has the head.
    pub early: bool,
}

impl Case {
    /// All bytes that the client sends.
    #[must_use]
    pub fn client_bytes(&self) -> Vec<u8> {
        bytes_of(&self.client)
    }

    /// All bytes that the application sends.
    #[must_use]
    pub fn app_bytes(&self) -> Vec<u8> {
        bytes_of(&self.app)
    }
}

fn bytes_of(steps: &[Step]) -> Vec<u8> {
    let sent = steps.iter().filter_map(|step| match step {
        Step::Send(bytes) => Some(bytes.as_slice()),
        _ => None,
    });
    sent.collect::<Vec<_>>().concat()
}

/// The folder of the corpus.
#[must_use]
pub fn folder() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "fixtures/http1"]
        .iter()
        .collect()
}

/// Reads the cases of `requests` or `responses`, from all files in the order of their names.
///
/// # Panics
/// If a file cannot be read or is invalid, or if two cases have one name.
#[must_use]
pub fn load(kind: &str) -> Vec<Case> {
    let folder = folder().join(kind);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let mut names = HashSet::new();
    let mut cases = Vec::new();
    for path in paths {
        let text = std::fs::read_to_string(&path).unwrap();
        let file = path.file_name().unwrap().to_string_lossy();
        let read = parse::cases(&file, &text).unwrap_or_else(|error| panic!("{error}"));
        for case in read {
            assert!(names.insert(case.name.clone()), "twice: {}", case.name);
            cases.push(case);
        }
    }
    cases
}
