//! Calls of the admin API: paths with data, lists of any length, and errors as text.

use app_proxy_api::client::{Call, Client, ClientError, Reply};
use http::StatusCode;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::error::CtlError;
use crate::settings::Settings;

/// An object as the API returned it, with unknown keys and in the API's order.
pub(crate) type Object = serde_yaml::Value;

/// Maximum number of items of a page.
const MAX_PAGE: u64 = 1000;
/// Characters that are not encoded (RFC 3986, unreserved).
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// Returns the path of `parts` below `/api/v1`; each part is percent-encoded.
pub(crate) fn path(parts: &[&str]) -> String {
    parts.iter().fold("/api/v1".to_owned(), |path, part| {
        format!("{path}/{}", escaped(part))
    })
}

/// Returns a path with a query of the values that are not `None`.
pub(crate) fn query(path: &str, values: &[(&str, Option<&str>)]) -> String {
    let given = values
        .iter()
        .filter_map(|(name, value)| Some(format!("{name}={}", escaped((*value)?))));
    let given: Vec<_> = given.collect();
    if given.is_empty() {
        path.to_owned()
    } else {
        format!("{path}?{}", given.join("&"))
    }
}

fn escaped(text: &str) -> String {
    utf8_percent_encode(text, UNRESERVED).to_string()
}

/// Deserialises an object.
///
/// # Errors
/// If the object has another type.
pub(crate) fn read<T: DeserializeOwned>(object: &Object) -> Result<T, CtlError> {
    serde_yaml::from_value(object.clone())
        .map_err(|e| CtlError::Failed(format!("cannot read the response: {e}")))
}

/// A page of a list. Other keys are ignored.
#[derive(Deserialize)]
struct AnyPage {
    items: Vec<Object>,
    next_cursor: Option<String>,
}

/// A client of one coordinator that returns errors for people.
pub(crate) struct Api {
    client: Client,
    /// The coordinator's address, for people.
    name: String,
    /// The file or the variable of the token.
    token_origin: Option<String>,
}

impl Api {
    /// Creates a client of a coordinator.
    pub(crate) fn new(settings: &Settings) -> Self {
        let token = settings.token.as_ref();
        let secret = token.map_or("", |token| token.secret.as_str());
        Self {
            client: Client::new(settings.address.clone(), secret),
            name: settings
                .address
                .to_string()
                .trim_end_matches('/')
                .to_owned(),
            token_origin: token.map(|token| token.origin.clone()),
        }
    }

    /// Returns the coordinator's address, for people.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Sends a call, and returns the error as it is.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub(crate) async fn try_call(&self, call: Call) -> Result<Reply, ClientError> {
        self.client.call(call).await
    }

    /// Sends a call.
    ///
    /// # Errors
    /// If the call fails; the error has the coordinator's text.
    pub(crate) async fn call(&self, call: Call) -> Result<Reply, CtlError> {
        self.try_call(call).await.map_err(|e| self.error(e))
    }

    /// Gets an object.
    ///
    /// # Errors
    /// As [`Api::call`].
    pub(crate) async fn get(&self, path: impl Into<String>) -> Result<Object, CtlError> {
        self.object(&self.call(Call::get(path)).await?)
    }

    /// Deserialises the object of a response.
    ///
    /// # Errors
    /// If the body is not an object.
    pub(crate) fn object(&self, reply: &Reply) -> Result<Object, CtlError> {
        reply.json().map_err(|e| self.error(e))
    }

    /// Gets a list, page by page: at most `limit` items, or all.
    ///
    /// # Errors
    /// As [`Api::call`].
    pub(crate) async fn list(
        &self,
        path: &str,
        filter: &[(&str, Option<&str>)],
        limit: Option<u64>,
    ) -> Result<Vec<Object>, CtlError> {
        let limit = limit.unwrap_or(u64::MAX);
        let (mut items, mut cursor) = (Vec::new(), None::<String>);
        loop {
            let left = limit.saturating_sub(items.len() as u64);
            let size = left.min(MAX_PAGE).to_string();
            let mut values = filter.to_vec();
            values.extend([
                ("limit", Some(size.as_str())),
                ("cursor", cursor.as_deref()),
            ]);
            let page: AnyPage = self
                .call(Call::get(query(path, &values)))
                .await?
                .json()
                .map_err(|e| self.error(e))?;
            items.extend(
                page.items
                    .into_iter()
                    .take(usize::try_from(left).unwrap_or(usize::MAX)),
            );
            match page.next_cursor {
                Some(next) if (items.len() as u64) < limit => {
                    if cursor.as_ref() == Some(&next) {
                        return Err(CtlError::Failed(format!(
                            "{} returns the same page again and again",
                            self.name
                        )));
                    }
                    cursor = Some(next);
                }
                _ => return Ok(items),
            }
        }
    }

    /// Converts the error of a call.
    pub(crate) fn error(&self, error: ClientError) -> CtlError {
        let name = &self.name;
        match error {
            ClientError::Unreachable(why) => {
                CtlError::Unavailable(format!("{name} cannot be reached: {why}"))
            }
            ClientError::Unauthenticated => CtlError::Unavailable(self.token_error()),
            ClientError::Refused { status, problem } if problem.code.is_empty() => {
                CtlError::Failed(format!(
                    "{name} answers {status}, but not as an admin listener does: is it one?"
                ))
            }
            ClientError::Refused { problem, .. } => CtlError::Failed(problem.to_string()),
            ClientError::Unreadable(why) => {
                CtlError::Failed(format!("{name} sent an unreadable response: {why}"))
            }
        }
    }

    fn token_error(&self) -> String {
        match &self.token_origin {
            Some(origin) => format!("{} rejects the token of {origin}", self.name),
            None => format!(
                "{} needs a token: name its file with --token-file or APP_PROXY_TOKEN_FILE (the \
                 coordinator's admin.token_file)",
                self.name
            ),
        }
    }
}

/// Returns whether the status of a failed call is 404.
pub(crate) fn is_missing(error: &ClientError) -> bool {
    matches!(
        error,
        ClientError::Refused {
            status: StatusCode::NOT_FOUND,
            ..
        }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_path_are_encoded() {
        assert_eq!(
            path(&["apps", "a/b?c#d %"]),
            "/api/v1/apps/a%2Fb%3Fc%23d%20%25"
        );
        assert_eq!(
            path(&["workers", "gpu-a_1.x", "drain"]),
            "/api/v1/workers/gpu-a_1.x/drain"
        );
    }

    #[test]
    fn queries_omit_absent_values() {
        assert_eq!(query("/p", &[("a", None)]), "/p");
        assert_eq!(
            query("/p", &[("a", Some("x&y=z")), ("b", None), ("c", Some("1"))]),
            "/p?a=x%26y%3Dz&c=1"
        );
    }
}
