//! Reading a daemon's access log.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::wait::eventually;

/// The access log of one daemon.
#[derive(Clone, Debug)]
pub struct AccessLog {
    path: PathBuf,
}

impl AccessLog {
    /// The log at `path`, which need not exist yet.
    pub fn at(path: impl AsRef<Path>) -> Self {
        Self {
            path: path.as_ref().to_owned(),
        }
    }

    /// The unchanged text.
    #[must_use]
    pub fn text(&self) -> String {
        let bytes = std::fs::read(&self.path).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Every complete line.
    ///
    /// # Panics
    /// When one of them is not a JSON object.
    #[must_use]
    pub fn lines(&self) -> Vec<Value> {
        let text = self.text();
        let complete = text.rfind('\n').map_or("", |end| &text[..end]);
        complete
            .lines()
            .map(|line| {
                let value: Value = serde_json::from_str(line).unwrap_or_else(|error| {
                    panic!(
                        "{}: a line is not JSON ({error}): {line}",
                        self.path.display()
                    )
                });
                assert!(
                    value.is_object(),
                    "{}: a line is not an object: {line}",
                    self.path.display()
                );
                value
            })
            .collect()
    }

    /// Returns the number of complete lines.
    #[must_use]
    pub fn line_count(&self) -> usize {
        let bytes = std::fs::read(&self.path).unwrap_or_default();
        bytes.iter().filter(|byte| **byte == b'\n').count()
    }

    /// The lines of one request, in their order.
    #[must_use]
    pub fn of_request(&self, id: &str) -> Vec<Value> {
        self.select(|line| line["request_id"] == id)
    }

    /// The lines that `wanted` accepts.
    #[must_use]
    pub fn select(&self, wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
        self.lines()
            .into_iter()
            .filter(|line| wanted(line))
            .collect()
    }

    /// The first line that `wanted` accepts, waited for.
    pub async fn wait_for_line(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let what = format!("{what} in {}", self.path.display());
        eventually(&what, || self.lines().into_iter().find(&wanted)).await
    }

    /// The `request` line of `id`, waited for.
    pub async fn request(&self, id: &str) -> Value {
        self.event(id, "request").await
    }

    /// The line of `id` with this `event`, waited for.
    pub async fn event(&self, id: &str, event: &str) -> Value {
        self.wait_for_line(&format!("`{event}` of {id}"), |line| {
            line["request_id"] == id && line["event"] == event
        })
        .await
    }

    /// Waits until `count` lines are accepted by `wanted`, and returns them. More than `count` come
    /// back as they are.
    pub async fn wait_for_count(
        &self,
        what: &str,
        count: usize,
        wanted: impl Fn(&Value) -> bool,
    ) -> Vec<Value> {
        let what = format!("{count} × {what} in {}", self.path.display());
        eventually(&what, || {
            let found = self.select(&wanted);
            (found.len() >= count).then_some(found)
        })
        .await
    }
}
