//! What both tiers know of a worker: its identifier, how it registers, and what the pool says of
//! it.

use std::sync::Arc;

use crate::address::Address;
use crate::schema_format;
use crate::schema_format::SchemaFormat;
use crate::units::Period;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::apps::{AppError, Labels, LabelsForm, check_labels};
use crate::table::Epoch;

mod instance;

pub use instance::InstanceId;

/// Longest identifier of a worker, in bytes.
const LONGEST_ID: usize = 128;

/// The form of a worker's identifier in descriptions; [`check_id`] checks it.
#[derive(Debug)]
pub struct WorkerId;

schema_format!(
    WorkerId,
    "WorkerId",
    SchemaFormat {
        description: "The identifier of a worker: letters, digits, `-`, `_` and `.`.",
        pattern: "^[A-Za-z0-9._-]{1,128}$",
        longest: LONGEST_ID,
        format: None,
        example: "gpu-a-1",
    }
);

/// A text is no worker's identifier.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no worker id: letters, digits, - _ .")]
pub struct WorkerIdError(String);

/// Checks a worker's identifier: it stands in logs, and in paths of the API.
///
/// # Errors
/// When it is empty, longer than 128 bytes, or has other characters than letters, digits, `-`, `_`
/// and `.`.
pub fn check_id(id: &str) -> Result<(), WorkerIdError> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    let valid = !id.is_empty() && id.len() <= LONGEST_ID && id.bytes().all(allowed);
    if valid {
        Ok(())
    } else {
        Err(WorkerIdError(id.to_owned()))
    }
}

/// What a worker says of itself when it registers and renews: the body of `PUT
/// /api/v1/workers/{id}`.
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
    /// How coordinators reach its proxy listener: `host:port` or `unix:/path`.
    pub address: Address,
    /// Its share of new sessions.
    #[serde(default = "one")]
    #[schema(default = 1, minimum = 1, maximum = 1000)]
    pub weight: u16,
    /// What apps may ask for by `pool`.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    #[schema(value_type = LabelsForm)]
    pub labels: Labels,
    /// Tells its processes apart: the successor of a graceful upgrade registers under the same
    /// identifier, and what its predecessor says after that does not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub instance: Option<InstanceId>,
    /// For how long this holds unless it is renewed; the coordinator's own `registration.lease`
    /// where it is absent. At least `100ms`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, max_length = 64, pattern = "^([1-9][0-9]{0,8}(s|m|h|d)|[1-9][0-9]{2,8}ms)+$", example = "10s")]
    pub lease: Option<Period>,
    /// The table that it holds of this coordinator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<HeldTable>,
    /// What it has to do.
    #[serde(default)]
    pub load: Load,
    /// Whether it takes no new sessions: some coordinator drains it.
    #[serde(default)]
    pub draining: bool,
    /// The version of the program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

const fn one() -> u16 {
    1
}

/// Which state of the app table a worker holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Held)]
pub struct HeldTable {
    /// What the revision counts in.
    #[schema(value_type = String, example = "943837a3ea5b5388")]
    pub epoch: Epoch,
    /// The revision.
    #[schema(format = "uint64", maximum = 18446744073709551615usize, example = 41)]
    pub revision: u64,
}

/// What a worker has to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Load {
    /// Requests and streams in flight.
    #[schema(format = "uint64", maximum = 18446744073709551615usize, example = 12)]
    pub in_flight: u64,
    /// Streams among them.
    #[schema(format = "uint64", maximum = 18446744073709551615usize, example = 3)]
    pub open_streams: u64,
}

impl WorkerRegistration {
    /// Largest weight: a ring has 160 points for each unit of it.
    pub const HEAVIEST: u16 = 1000;

    /// Checks what the form alone does not.
    ///
    /// # Errors
    /// The first fault.
    pub fn validate(&self) -> Result<(), AppError> {
        if !(1..=Self::HEAVIEST).contains(&self.weight) {
            return Err(AppError::new("weight", format!("1 to {}", Self::HEAVIEST)));
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

/// What a worker is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Registered)]
pub struct RegistrationReply {
    /// For how long the registration holds.
    pub lease: Period,
    /// Whether an operator drains it at this coordinator.
    pub drain: bool,
}

/// A worker as the API shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WorkerView {
    /// Its identifier.
    #[schema(value_type = WorkerId)]
    pub id: Arc<str>,
    /// Where its proxy listens.
    #[schema(example = "10.0.0.7:7080")]
    pub address: String,
    /// Its share of new sessions.
    pub weight: u16,
    /// What apps may ask for by `pool`.
    #[schema(value_type = LabelsForm)]
    pub labels: Labels,
    /// Whether it answers health checks.
    pub healthy: bool,
    /// Whether it takes no new sessions.
    pub draining: bool,
    /// Who knows it.
    pub source: WorkerSource,
    /// When its registration lapses unless it is renewed, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, format = DateTime)]
    pub lease_until: Option<String>,
    /// The table that it holds, as it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<HeldTable>,
    /// What it has to do, as it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<Load>,
    /// The version of its program, as it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Requests and streams of this coordinator that are at it now.
    pub in_flight: u64,
    /// Streams among them.
    pub open_streams: u64,
    /// Sessions of this coordinator that are pinned to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sessions: Option<u64>,
    /// How far its drain is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<DrainView>,
}

/// Who knows a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum WorkerSource {
    /// The configuration file.
    File,
    /// It has registered.
    Api,
}

/// A drain of a worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DrainView {
    /// Since when, RFC 3339.
    #[schema(format = DateTime)]
    pub since: String,
    /// When what is left is closed, RFC 3339.
    #[schema(format = DateTime)]
    pub deadline: String,
    /// Whether nothing is left.
    pub done: bool,
}

/// The body of `POST /api/v1/workers/{id}/drain`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(example = json!({"deadline": "10m"}))]
pub struct DrainRequest {
    /// How long streams may go on before they are closed; 5 minutes when it is absent, 30 days at
    /// most.
    pub deadline: Option<Period>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_short_and_plain() {
        for good in ["w1", "gpu-a_1.example", &"x".repeat(128)] {
            assert_eq!(check_id(good), Ok(()), "{good}");
        }
        for bad in ["", "a b", "a/b", "\u{e9}", &"x".repeat(129)] {
            assert!(check_id(bad).is_err(), "{bad}");
        }
    }
}
