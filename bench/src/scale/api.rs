//! Calls of the coordinator's admin API.

use std::net::SocketAddr;

use crate::client::{Connection, Failure};

/// Bytes that are read at once: an app table is some MB.
const BLOCK: usize = 256 << 10;

/// A connection to the admin API, with its token.
pub(super) struct Api {
    connection: Connection,
    token: String,
}

/// An answer; of a long one only the end.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) length: u64,
    /// The end of the body, all of it when it is short.
    pub(super) end: Vec<u8>,
}

impl Api {
    /// Bytes that are kept of a body, at least.
    const KEPT: usize = 64 << 10;

    pub(super) async fn open(address: SocketAddr, token: &str) -> Result<Self, Failure> {
        Ok(Self {
            connection: Connection::open_with(address, BLOCK).await?,
            token: token.to_owned(),
        })
    }

    /// Makes a call, and returns the answer, which must be a success.
    pub(super) async fn call(
        &mut self,
        method: &str,
        path: &str,
        body: &str,
    ) -> Result<Answer, Failure> {
        let answer = self.try_call(method, path, body).await?;
        if (200..300).contains(&answer.status) {
            Ok(answer)
        } else {
            Err(Failure::Status(answer.status))
        }
    }

    /// Makes a call, whatever it is answered.
    pub(super) async fn try_call(
        &mut self,
        method: &str,
        path: &str,
        body: &str,
    ) -> Result<Answer, Failure> {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: bench.test\r\nAuthorization: Bearer {}\r\n\
             Content-Length: {}\r\n\r\n{body}",
            self.token,
            body.len()
        );
        self.connection.send(request.as_bytes()).await?;
        let head = self.connection.head(|_, _| ()).await?;
        let length = head.length.unwrap_or_default();
        let mut end = Vec::new();
        let mut left = usize::try_from(length).unwrap_or(usize::MAX);
        while left > 0 {
            let piece = self.connection.next().await?;
            left = left
                .checked_sub(piece.len())
                .ok_or(Failure::Malformed("more than the answer"))?;
            if end.len() > Self::KEPT {
                end.drain(..end.len() - Self::KEPT);
            }
            end.extend_from_slice(piece);
        }
        Ok(Answer {
            status: head.status,
            length,
            end,
        })
    }
}

impl Answer {
    /// Returns the revision and the epoch of an app list, which follow its items.
    pub(super) fn state(&self) -> Result<(u64, String), Failure> {
        let text = str::from_utf8(&self.end)
            .or_else(|e| str::from_utf8(self.end.get(..e.valid_up_to()).unwrap_or_default()));
        let text = text.unwrap_or_default();
        let behind = |name: &str| text.rsplit_once(name).map(|(_, rest)| rest);
        let state = || {
            // Within strings a quote is escaped, so that this is the list's own member.
            let rest = behind("\"next_cursor\":null,\"revision\":")?;
            let (revision, rest) = rest.split_once(',')?;
            let epoch = rest.strip_prefix("\"epoch\":\"")?.split_once('"')?.0;
            Some((revision.parse().ok()?, epoch.to_owned()))
        };
        state().ok_or(Failure::Malformed("no revision at the end of an app list"))
    }

    /// The `revision` of an app.
    pub(super) fn revision(&self) -> Result<u64, Failure> {
        let app: serde_json::Value = serde_json::from_slice(&self.end).unwrap_or_default();
        app.get("revision")
            .and_then(serde_json::Value::as_u64)
            .ok_or(Failure::Malformed("an app without a revision"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_of_a_list_is_read_from_its_end() {
        let body = concat!(
            r#"me":"a","revision":3}],"next_cursor":null,"revision":17,"#,
            r#""epoch":"e-1","deleted":["b"],"complete":false}"#,
        )
        .as_bytes();
        let answer = Answer {
            status: 200,
            length: 1 << 20,
            end: body.to_vec(),
        };
        assert_eq!(answer.state().unwrap(), (17, "e-1".to_owned()));
        assert!(
            Answer {
                end: b"{}".to_vec(),
                ..answer
            }
            .state()
            .is_err()
        );
    }
}
