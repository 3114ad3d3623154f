//! A coordinator that counts the tokens of model endpoints: it reads the event streams of chat
//! completions as they pass, and logs one line each. Flags: those of `app-proxy-coordinator`.

use std::process::ExitCode;

use app_proxy_coordinator::{Direction, Event, Observe, RequestKind, StreamObserver, daemon};
use serde_json::Value;

/// The part of a longer line that is kept; such a line is not counted.
const LONGEST_LINE: usize = 64 * 1024;

struct Models;

impl Observe for Models {
    fn event(&self, _: &Event<'_>) {}

    fn stream(&self, opened: &Event<'_>) -> Option<Box<dyn StreamObserver>> {
        (opened.request_kind() == RequestKind::Sse).then(|| Box::<Tokens>::default() as _)
    }
}

/// The tokens of one stream: a piece of text is one, unless the model says how many it wrote.
#[derive(Default)]
struct Tokens {
    line: Vec<u8>,
    pieces: u64,
    usage: Option<u64>,
}

impl StreamObserver for Tokens {
    fn data(&mut self, from: Direction, bytes: &[u8]) {
        if from == Direction::FromClient {
            return;
        }
        // What arrives may end anywhere: a line counts once its end is there.
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let room = LONGEST_LINE.saturating_sub(self.line.len());
            self.line.extend(part.iter().take(room));
            if part.ends_with(b"\n") {
                let data = self.line.strip_prefix(b"data:").unwrap_or_default();
                let data: Value = serde_json::from_slice(data).unwrap_or_default();
                let value = |at: &str| data.pointer(at).cloned().unwrap_or_default();
                self.pieces += u64::from(value("/choices/0/delta/content").is_string());
                self.usage = value("/usage/completion_tokens").as_u64().or(self.usage);
                self.line.clear();
            }
        }
    }

    fn end(&mut self, closed: &Event<'_>) {
        let tokens = self.usage.unwrap_or(self.pieces);
        let (id, app) = (closed.request_id(), closed.app().unwrap_or("-"));
        log::info!("request_id={id} app={app} tokens={tokens}");
    }
}

fn main() -> ExitCode {
    daemon::main(|builder| builder.observe(Models))
}
