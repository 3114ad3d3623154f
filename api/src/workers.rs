//! Workers: registration, drain, and workers as the API returns them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::address::Address;
use crate::apps::{AppError, Labels, LabelsSchema, check_labels};
use crate::schema_format::{SchemaFormat, schema_format};
use crate::table::Epoch;
use crate::units::Period;

mod instance;

pub use instance::InstanceId;

/// Maximum length of a worker's identifier in bytes.
const MAX_ID: usize = 128;

/// The schema of a worker's identifier; [`check_id`] validates it.
#[derive(Debug)]
pub struct WorkerId;

schema_format!(
    WorkerId,
    "WorkerId",
    SchemaFormat {
        description: "The identifier of a worker: letters, digits, `-`, `_` and `.`.",
        pattern: "^[A-Za-z0-9._-]{1,128}$",
        max_length: MAX_ID,
        format: None,
        example: "gpu-a-1",
    }
);

/// An invalid worker identifier.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a valid worker ID: use letters, digits, - _ .")]
pub struct WorkerIdError(String);

/// Validates a worker's identifier, which is written to logs and to paths of the API.
///
/// ```
/// use app_proxy_api::workers::check_id;
///
/// assert!(check_id("gpu-a-1").is_ok());
/// assert_eq!(
///     check_id("gpu/a").unwrap_err().to_string(),
///     "`gpu/a` is not a valid worker ID: use letters, digits, - _ .",
/// );
/// ```
///
/// # Errors
/// If the identifier is empty, longer than 128 bytes, or has other characters than letters, digits,
/// `-`, `_` and `.`.
pub fn check_id(id: &str) -> Result<(), WorkerIdError> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    let valid = !id.is_empty() && id.len() <= MAX_ID && id.bytes().all(allowed);
    if valid {
        Ok(())
    } else {
        Err(WorkerIdError(id.to_owned()))
    }
}

/// A registration of a worker, or its renewal: the body of `PUT /api/v1/workers/{id}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "address": "10.0.0.7:7080",
    "weight": 1,
    "labels": {"zone": "gpu-a"},
    "instance": "1f0c2b7e",
    "lease": "10s",
    "held": {"epoch": "943837a3ea5b5388", "revision": 41},
    "load": {"in_flight": 12, "open_streams": 3},
    "draining": false,
    "version": "0.1.0",
}))]
#[schema(as = Registration)]
pub struct WorkerRegistration {
    /// The address at which coordinators reach the worker's proxy listener: `host:port` or
    /// `unix:/path`.
    pub address: Address,
    /// The worker's share of new sessions.
    #[serde(default = "one")]
    #[schema(default = 1, minimum = 1, maximum = 1000)]
    pub weight: u16,
    /// Labels that apps select workers by, with `pool`.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    #[schema(value_type = LabelsSchema)]
    pub labels: Labels,
    /// Identifies the process. The successor in a graceful upgrade registers under the same worker
    /// identifier; registrations of its predecessor are rejected from then on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub instance: Option<InstanceId>,
    /// The validity of the registration unless it is renewed; at least `100ms`. Default: the
    /// coordinator's `registration.lease`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(
        value_type = Option<String>,
        max_length = 64,
        pattern = "^([1-9][0-9]{0,8}(s|m|h|d)|[1-9][0-9]{2,8}ms)+$",
        example = "10s"
    )]
    pub lease: Option<Period>,
    /// The state of this coordinator's app table at the worker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<HeldTable>,
    /// The worker's current load.
    #[serde(default)]
    pub load: Load,
    /// True if any coordinator drains the worker: it gets no new sessions.
    #[serde(default)]
    pub draining: bool,
    /// The version of the worker's program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

const fn one() -> u16 {
    1
}

/// The state of the app table that a worker holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Held)]
pub struct HeldTable {
    /// The epoch of the table; the revision counts in it.
    #[schema(value_type = String, example = "943837a3ea5b5388")]
    pub epoch: Epoch,
    /// The revision of the table.
    #[schema(format = "uint64", maximum = 18446744073709551615usize, example = 41)]
    pub revision: u64,
}

/// The current load of a worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Load {
    /// Requests and streams in flight.
    #[schema(format = "uint64", maximum = 18446744073709551615usize, example = 12)]
    pub in_flight: u64,
    /// Open streams, which are also in `in_flight`.
    #[schema(format = "uint64", maximum = 18446744073709551615usize, example = 3)]
    pub open_streams: u64,
}

impl WorkerRegistration {
    /// Maximum weight. The hash ring has 160 points for each unit of weight.
    pub const MAX_WEIGHT: u16 = 1000;

    /// Validates the values that deserialisation accepts.
    ///
    /// # Errors
    /// Returns the first invalid field.
    pub fn validate(&self) -> Result<(), AppError> {
        if !(1..=Self::MAX_WEIGHT).contains(&self.weight) {
            return Err(AppError::new(
                "weight",
                format!("1 to {}", Self::MAX_WEIGHT),
            ));
        }
        if self.address.port() == Some(0) {
            return Err(AppError::new(
                "address",
                format!("{} has port 0", self.address),
            ));
        }
        if self.lease.is_some_and(|lease| lease.0.as_millis() < 100) {
            return Err(AppError::new("lease", "at least 100ms"));
        }
        check_labels("labels", &self.labels)
    }
}

/// The response to a registration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Registered)]
pub struct RegistrationReply {
    /// The validity of the registration.
    pub lease: Period,
    /// True if an operator drains the worker at this coordinator.
    pub drain: bool,
}

/// A worker as the API returns it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WorkerView {
    /// The worker's identifier.
    #[schema(value_type = WorkerId)]
    pub id: Arc<str>,
    /// The address of the worker's proxy listener.
    #[schema(example = "10.0.0.7:7080")]
    pub address: String,
    /// The worker's share of new sessions.
    pub weight: u16,
    /// Labels that apps select workers by, with `pool`.
    #[schema(value_type = LabelsSchema)]
    pub labels: Labels,
    /// True if the worker passes health checks.
    pub healthy: bool,
    /// True if the worker gets no new sessions.
    pub draining: bool,
    /// The origin of the worker's entry.
    pub source: WorkerSource,
    /// The expiry of the registration unless it is renewed, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, format = DateTime)]
    pub lease_until: Option<String>,
    /// The state of the app table that the worker reports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<HeldTable>,
    /// The load that the worker reports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<Load>,
    /// The version that the worker reports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Requests and streams that this coordinator currently forwards to the worker.
    pub in_flight: u64,
    /// Open streams, which are also in `in_flight`.
    pub open_streams: u64,
    /// Sessions of this coordinator that are pinned to the worker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sessions: Option<u64>,
    /// The progress of the worker's drain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<DrainView>,
}

/// The origin of a worker's entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum WorkerSource {
    /// The configuration file.
    File,
    /// The worker registered itself.
    Api,
}

/// A drain of a worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DrainView {
    /// The start of the drain, RFC 3339.
    #[schema(format = DateTime)]
    pub since: String,
    /// The time at which remaining streams are closed, RFC 3339.
    #[schema(format = DateTime)]
    pub deadline: String,
    /// True if this coordinator has no request and no stream at the worker any more.
    pub done: bool,
}

/// The body of `POST /api/v1/workers/{id}/drain`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(example = json!({"deadline": "10m"}))]
pub struct DrainRequest {
    /// The time after which streams are closed; at most 30 days. Default: 5 minutes.
    pub deadline: Option<Period>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_letters_digits_and_three_marks() {
        for good in ["w1", "gpu-a_1.example", &"x".repeat(128)] {
            assert_eq!(check_id(good), Ok(()), "{good}");
        }
        for bad in ["", "a b", "a/b", "\u{e9}", &"x".repeat(129)] {
            assert!(check_id(bad).is_err(), "{bad}");
        }
    }
}
