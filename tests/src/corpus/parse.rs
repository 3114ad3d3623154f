//! The parser of the corpus's files. `tests/fixtures/http1/README.md` has the format.

use super::escape::decode;
use super::{Case, Expected, Field, Step};

/// The request of a response's case that has none of its own.
const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: h.example\r\n\r\n";

/// Parses a file.
///
/// # Errors
/// The file, the line and the fault.
pub(super) fn cases(file: &str, text: &str) -> Result<Vec<Case>, String> {
    let mut cases: Vec<Case> = Vec::new();
    let mut last = Last::Nothing;
    for (number, line) in (1..).zip(text.lines()) {
        let fail = |fault: String| format!("{file}:{number}: {fault}: {line}");
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(title) = line.strip_prefix("== ") {
            let mut case = title_of(title).map_err(fail)?;
            case.place = format!("{file}:{number}");
            cases.push(case);
            last = Last::Nothing;
            continue;
        }
        let case = cases
            .last_mut()
            .ok_or_else(|| fail("no case yet".to_owned()))?;
        last = case.add(line, last).map_err(fail)?;
    }
    for case in &mut cases {
        case.complete()
            .map_err(|fault| format!("{}: {fault}", case.place))?;
    }
    Ok(cases)
}

/// The message that indented lines belong to.
#[derive(Clone, Copy)]
enum Last {
    Nothing,
    Request,
    Response,
}

fn title_of(title: &str) -> Result<Case, String> {
    let parts = title
        .strip_suffix(')')
        .and_then(|title| title.rsplit_once(" ("));
    let (name, section) = parts.ok_or("a title is NAME (SECTION)")?;
    Ok(Case {
        name: name.to_owned(),
        section: section.to_owned(),
        ..Case::default()
    })
}

impl Case {
    fn add(&mut self, line: &str, last: Last) -> Result<Last, String> {
        if let Some(field) = line.strip_prefix("    ") {
            let message = match last {
                Last::Request => self.requests.last_mut(),
                Last::Response => self.responses.last_mut(),
                Last::Nothing => None,
            };
            message.ok_or("no message yet")?.add(field)?;
            return Ok(last);
        }
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            ">" => send(&mut self.client, rest)?,
            "<" => send(&mut self.app, rest)?,
            ">|" => self.client.push(control(rest)?),
            "<|" if rest == "early" => self.early = true,
            "<|" => self.app.push(control(rest)?),
            "app" => {
                self.requests.push(expected(rest)?);
                return Ok(Last::Request);
            }
            "client" => {
                self.responses.push(expected(rest)?);
                return Ok(Last::Response);
            }
            "kept" => self.kept = Some(true),
            "closed" => self.kept = Some(false),
            "reused" => self.reused = Some(true),
            "unused" => self.reused = Some(false),
            _ => return Err("unknown word".to_owned()),
        }
        Ok(Last::Nothing)
    }

    /// Adds what a case may leave out.
    fn complete(&mut self) -> Result<(), String> {
        if self.client.is_empty() {
            self.client.push(Step::Send(GET.to_vec()));
        }
        if self.responses.is_empty() {
            let ok = Expected {
                line: b"200".to_vec(),
                ..Expected::default()
            };
            self.responses = vec![ok; self.requests.len()];
        }
        let is_request = self.app.is_empty();
        if is_request && self.kept.is_none() {
            let mut finals = self.responses.iter();
            self.kept = Some(finals.all(|response| response.line.as_slice() < b"400".as_slice()));
        }
        for request in self.requests.iter_mut().filter(|_| is_request) {
            request.body.get_or_insert_default();
        }
        if self.responses.is_empty() && self.kept != Some(false) {
            return Err("a case without an outcome".to_owned());
        }
        Ok(())
    }
}

/// Appends a line to the last write. Without a backslash at its end it has a CRLF.
fn send(steps: &mut Vec<Step>, line: &str) -> Result<(), String> {
    let backslashes = line.len() - line.trim_end_matches('\\').len();
    let bytes = if backslashes % 2 == 1 {
        decode(&line[..line.len() - 1])?
    } else {
        let mut bytes = decode(line)?;
        bytes.extend_from_slice(b"\r\n");
        bytes
    };
    if let Some(Step::Send(before)) = steps.last_mut() {
        before.extend_from_slice(&bytes);
    } else {
        steps.push(Step::Send(bytes));
    }
    Ok(())
}

fn control(word: &str) -> Result<Step, String> {
    match word {
        "pause" => Ok(Step::Pause),
        "wait" => Ok(Step::Wait),
        "finish" | "close" => Ok(Step::Finish),
        "reset" => Ok(Step::Reset),
        _ => Err("unknown step".to_owned()),
    }
}

fn expected(line: &str) -> Result<Expected, String> {
    let (line, truncated) = strip(line, " truncated");
    let (line, or_502) = strip(line, " or 502");
    Ok(Expected {
        line: decode(line)?,
        truncated,
        or_502,
        ..Expected::default()
    })
}

fn strip<'l>(line: &'l str, suffix: &str) -> (&'l str, bool) {
    match line.strip_suffix(suffix) {
        Some(line) => (line, true),
        None => (line, false),
    }
}

impl Expected {
    fn add(&mut self, line: &str) -> Result<(), String> {
        if line == "body" {
            self.body = Some(Vec::new());
        } else if let Some(body) = line.strip_prefix("body ") {
            self.body = Some(decode(body)?);
        } else if let Some(field) = line.strip_prefix("trailer ") {
            add_field(&mut self.trailers, field)?;
        } else {
            add_field(&mut self.fields, line)?;
        }
        Ok(())
    }
}

/// Adds `name: value` or `no name`. A name that is there already gets one more value.
fn add_field(fields: &mut Vec<Field>, line: &str) -> Result<(), String> {
    if let Some(name) = line.strip_prefix("no ") {
        fields.push(Field::Absent(name.to_ascii_lowercase()));
        return Ok(());
    }
    let (name, value) = line.split_once(':').ok_or("not a field")?;
    let (name, value) = (name.to_ascii_lowercase(), decode(value.trim())?);
    for field in fields.iter_mut() {
        if let Field::Is(known, values) = field
            && *known == name
        {
            values.push(value);
            return Ok(());
        }
    }
    fields.push(Field::Is(name, vec![value]));
    Ok(())
}

#[test]
fn a_case_has_defaults() {
    let text = "== a name (RFC 9112, 3)\n> GET / HTTP/1.1\n>\napp GET /\n    a: 1\n    a: 2\n";
    let case = cases("file", text).unwrap().remove(0);
    assert_eq!(
        (case.name.as_str(), case.section.as_str()),
        ("a name", "RFC 9112, 3")
    );
    assert_eq!(case.client_bytes(), b"GET / HTTP/1.1\r\n\r\n");
    let values = vec![b"1".to_vec(), b"2".to_vec()];
    assert_eq!(case.requests[0].fields, [Field::Is("a".to_owned(), values)]);
    assert_eq!(case.requests[0].body, Some(Vec::new()));
    assert_eq!(case.responses[0].line, b"200");
    assert_eq!(case.kept, Some(true));
}

#[test]
fn a_backslash_at_the_end_leaves_out_the_line_break() {
    let mut steps = Vec::new();
    for line in ["a", "b\\", "c\\\\", ""] {
        send(&mut steps, line).unwrap();
    }
    assert_eq!(steps, [Step::Send(b"a\r\nbc\\\r\n\r\n".to_vec())]);
}
