//! Validation of names and labels.

use super::Labels;
use super::limits::{MAX_LABEL, MAX_LABELS, MAX_NAME};

/// An invalid field of an app or of a worker.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct AppError {
    /// The path of the field, such as `endpoints[1].weight`.
    pub field: String,
    /// The problem, for people.
    pub problem: String,
}

impl AppError {
    /// Creates an error about a field.
    pub fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            problem: problem.into(),
        }
    }
}

/// Validates an app's name, which is written to paths, host names and logs.
///
/// ```
/// use app_proxy_api::apps::check_name;
///
/// assert!(check_name("notes").is_ok());
/// assert_eq!(check_name("Notes").unwrap_err().field, "name");
/// ```
///
/// # Errors
/// If the name is not a DNS label in lower case.
pub fn check_name(name: &str) -> Result<(), AppError> {
    let ends = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = name.as_bytes();
    let valid = bytes.len() <= MAX_NAME
        && ends(bytes.first())
        && ends(bytes.last())
        && bytes
            .iter()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-');
    if valid {
        return Ok(());
    }
    let problem = format!(
        "`{name}` is not a valid app name: use lower-case letters, digits and hyphens, at most \
         {MAX_NAME}, beginning and ending with a letter or digit"
    );
    Err(AppError::new("name", problem))
}

/// Validates labels, which are written to logs and compared byte by byte.
///
/// # Errors
/// If there are too many labels, or a name or a value is empty, too long, or has other characters
/// than letters, digits and `-_./`.
pub fn check_labels(field: &str, labels: &Labels) -> Result<(), AppError> {
    let fits = |text: &str| {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_./".contains(&b);
        !text.is_empty() && text.len() <= MAX_LABEL && text.bytes().all(plain)
    };
    if labels.len() > MAX_LABELS {
        return Err(AppError::new(field, format!("at most {MAX_LABELS} labels")));
    }
    match labels
        .iter()
        .find(|(name, value)| !fits(name) || !fits(value))
    {
        None => Ok(()),
        Some((name, _)) => Err(AppError::new(
            format!("{field}.{name}"),
            format!("a label and its value are 1 to {MAX_LABEL} letters, digits, - _ . /"),
        )),
    }
}
