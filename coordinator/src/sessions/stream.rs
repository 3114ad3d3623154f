//! An open stream of a session (phases `upstream_peer` to `logging`).

use std::sync::Arc;

use app_proxy_hop::streams::{CloseReason, StreamHandle};
use app_proxy_hop::tunnel::{Direction, TunnelObserver};

use super::record::SessionRecord;
use super::table::SessionTable;

/// An open stream of a session, or a long download. Counts as one open stream until it is dropped,
/// and keeps the session from expiring while data flows.
pub(crate) struct OpenStream {
    record: Arc<SessionRecord>,
    table: SessionTable,
}

impl OpenStream {
    /// Counts a stream that is registered as `handle`, and closes it if its session is deleted.
    #[must_use]
    pub(crate) fn new(
        record: &Arc<SessionRecord>,
        table: &SessionTable,
        handle: &StreamHandle,
    ) -> Self {
        record.begin_stream();
        if record.is_deleted() {
            handle.close(CloseReason::SessionDeleted);
        }
        Self {
            record: Arc::clone(record),
            table: table.clone(),
        }
    }

    /// Counts bytes from the client and to it.
    pub(crate) fn count_bytes(&self, bytes_in: u64, bytes_out: u64) {
        self.record.count_bytes(bytes_in, bytes_out);
        if self
            .record
            .keep_alive_is_due(self.table.keep_alive_interval())
        {
            self.table.keep_alive(&self.record);
        }
    }
}

impl TunnelObserver for OpenStream {
    fn data(&mut self, from: Direction, bytes: u64) {
        match from {
            Direction::FromClient => self.count_bytes(bytes, 0),
            Direction::FromServer => self.count_bytes(0, bytes),
        }
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.record.end_stream();
    }
}
