//! Limits of an app's fields.

/// Maximum length of a name, as in a DNS label: with a domain configured, an app is at
/// `<name>.<domain>`.
pub(super) const MAX_NAME: usize = 63;
/// Maximum number of endpoints of an app.
pub(super) const MAX_ENDPOINTS: usize = 1000;
/// Maximum number of rules of an app.
pub(super) const MAX_RULES: usize = 100;
/// Maximum number of labels of a worker or an app.
pub(super) const MAX_LABELS: usize = 32;
/// Maximum length of a label's name and of its value.
pub(super) const MAX_LABEL: usize = 63;
