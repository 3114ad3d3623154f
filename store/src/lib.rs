//! The state that survives a restart of a coordinator: apps, workers, sessions, and webhooks that
//! wait for delivery.
//!
//! A coordinator reads its store at startup and writes changes to it. Requests are served from
//! memory and never wait for the store. A change made through the API is stored before the call is
//! answered. Activity is written behind, in batches.
//!
//! The processes that share a store are its members: a process and its successor during a graceful
//! upgrade, or a fleet. A commit therefore names the table that it is based on and is rejected when
//! another process committed first, and each process polls the store for the changes of others many
//! times a second. Each member announces the table that it serves.
//!
//! ```
//! use app_proxy_store::{ActivityBatch, AppActivity, SqliteStore, Store};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), app_proxy_store::StoreError> {
//! let store = SqliteStore::in_memory()?;
//! let used = AppActivity {
//!     app: "notes".to_owned(),
//!     active_ms: 1_714_521_600_000,
//!     idle_since_ms: 1_714_521_600_000,
//!     idle_notified_ms: 0,
//! };
//! let batch = ActivityBatch { apps: vec![used.clone()], ..ActivityBatch::default() };
//! store.save_activity(&batch).await?;
//! assert_eq!(store.load().await?.activity, [used]);
//! # Ok(())
//! # }
//! ```

mod activity;
mod commit;
mod error;
mod member;
mod session;
mod state;
mod store;

mod sqlite;

pub mod conformance;

pub use activity::{ActivityBatch, AppActivity, Counts, SessionActivity};
pub use commit::{AppChange, AppCommit, FileClaim, FileClaims};
pub use error::StoreError;
pub use member::{Member, MemberId, MemberStage, NewMember, Role};
pub use session::StoredSession;
pub use sqlite::SqliteStore;
pub use state::{
    AppDelta, Cursor, Delta, ServedTable, State, StoredDrain, StoredWebhook, StoredWorker,
};
pub use store::Store;
