//! The admin API as commands use it: paths out of data, lists of any length, and failures in words.

use app_proxy_api::client::{Call, Client, ClientError, Reply};
use http::StatusCode;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::failure::CtlError;
use crate::settings::Settings;

/// An object of the API as it came: with keys that this program does not know, and in the API's
/// order.
pub type Object = serde_yaml::Value;

/// Most items that a page may have.
const LARGEST_PAGE: u64 = 1000;
/// What a part of a path may have as it is (RFC 3986, unreserved).
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// A path below `/api/v1` whose `parts` are data.
#[must_use]
pub fn path(parts: &[&str]) -> String {
    parts.iter().fold("/api/v1".to_owned(), |path, part| {
        format!("{path}/{}", escaped(part))
    })
}

/// A path with a query of those values that there are.
#[must_use]
pub fn query(path: &str, values: &[(&str, Option<&str>)]) -> String {
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

/// An object, read as what it should be.
///
/// # Errors
/// When it is something else.
pub fn read<T: DeserializeOwned>(object: &Object) -> Result<T, CtlError> {
    serde_yaml::from_value(object.clone())
        .map_err(|e| CtlError::Failed(format!("the answer cannot be read: {e}")))
}

/// A page of a list; the list of apps has more keys, which are passed over.
#[derive(Deserialize)]
struct AnyPage {
    items: Vec<Object>,
    next_cursor: Option<String>,
}

/// A coordinator, and how its failures are told.
pub struct Api {
    client: Client,
    /// The address as people write it.
    name: String,
    /// Where the token was found.
    token_origin: Option<String>,
}

impl Api {
    /// The API of a coordinator.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
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

    /// The address as people write it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Makes a call, whose failure the caller tells.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn try_call(&self, call: Call) -> Result<Reply, ClientError> {
        self.client.call(call).await
    }

    /// Makes a call.
    ///
    /// # Errors
    /// What the coordinator says, or why it says nothing.
    pub async fn call(&self, call: Call) -> Result<Reply, CtlError> {
        self.try_call(call).await.map_err(|e| self.failure(e))
    }

    /// Gets an object.
    ///
    /// # Errors
    /// As [`Api::call`].
    pub async fn get(&self, path: impl Into<String>) -> Result<Object, CtlError> {
        self.object(&self.call(Call::get(path)).await?)
    }

    /// The object that an answer has.
    ///
    /// # Errors
    /// When it has none.
    pub fn object(&self, answer: &Reply) -> Result<Object, CtlError> {
        answer.json().map_err(|e| self.failure(e))
    }

    /// Gets a list, page by page: at most `limit` items, or all of them.
    ///
    /// # Errors
    /// As [`Api::call`].
    pub async fn list(
        &self,
        path: &str,
        filter: &[(&str, Option<&str>)],
        limit: Option<u64>,
    ) -> Result<Vec<Object>, CtlError> {
        let limit = limit.unwrap_or(u64::MAX);
        let (mut items, mut cursor) = (Vec::new(), None::<String>);
        loop {
            let left = limit.saturating_sub(items.len() as u64);
            let size = left.min(LARGEST_PAGE).to_string();
            let mut values = filter.to_vec();
            values.extend([
                ("limit", Some(size.as_str())),
                ("cursor", cursor.as_deref()),
            ]);
            let page: AnyPage = self
                .call(Call::get(query(path, &values)))
                .await?
                .json()
                .map_err(|e| self.failure(e))?;
            items.extend(
                page.items
                    .into_iter()
                    .take(usize::try_from(left).unwrap_or(usize::MAX)),
            );
            match page.next_cursor {
                Some(next) if (items.len() as u64) < limit => {
                    if cursor.as_ref() == Some(&next) {
                        return Err(CtlError::Failed(format!(
                            "{} answers the same page for ever",
                            self.name
                        )));
                    }
                    cursor = Some(next);
                }
                _ => return Ok(items),
            }
        }
    }

    /// A failed call in words, with the exit code that stands for it.
    #[must_use]
    pub fn failure(&self, error: ClientError) -> CtlError {
        let name = &self.name;
        match error {
            ClientError::Unreachable(why) => {
                CtlError::Unavailable(format!("{name} cannot be reached: {why}"))
            }
            ClientError::Unauthenticated => CtlError::Unavailable(self.refused_token()),
            ClientError::Refused { status, problem } if problem.code.is_empty() => {
                CtlError::Failed(format!(
                    "{name} answers {status}, and not as an admin listener does: is it one?"
                ))
            }
            ClientError::Refused { problem, .. } => CtlError::Failed(problem.to_string()),
            ClientError::Unreadable(why) => {
                CtlError::Failed(format!("{name} answers what cannot be read: {why}"))
            }
        }
    }

    fn refused_token(&self) -> String {
        match &self.token_origin {
            Some(origin) => format!("{} does not take the token of {origin}", self.name),
            None => format!(
                "{} needs a token: name its file with --token-file or APP_PROXY_TOKEN_FILE (the coordinator's admin.token_file)",
                self.name
            ),
        }
    }
}

/// Whether a call failed because what it names is not there.
#[must_use]
pub fn is_missing(error: &ClientError) -> bool {
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
    fn data_in_a_path_stays_data() {
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
    fn a_query_has_the_values_that_there_are() {
        assert_eq!(query("/p", &[("a", None)]), "/p");
        assert_eq!(
            query("/p", &[("a", Some("x&y=z")), ("b", None), ("c", Some("1"))]),
            "/p?a=x%26y%3Dz&c=1"
        );
    }
}
