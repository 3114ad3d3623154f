//! The access log's handle, and the thread that writes.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use log::{error, warn};
use prometheus::IntCounter;
use serde_json::Value;

use crate::config::AccessLogSection;
use crate::identity::RequestId;
use crate::observe::access_log::line;
use crate::observe::access_log::merge_lines;
use crate::observe::access_log::recent::RecentLines;
use crate::observe::access_log::tail::Tail;
use crate::observe::access_log::timestamp::Clock;
use crate::observe::event::Record;

/// Capacity of the queue, in lines; further lines are dropped.
const QUEUE_LINES: usize = 16_384;
/// Size at which a batch is written, in bytes.
const BATCH_BYTES: usize = 64 * 1024;
/// Time for which the writer gathers lines: one system call for a batch is cheaper than one a line.
const GATHER: Duration = Duration::from_millis(10);
/// Room in a block for the line that fills it, in bytes.
const LAST_LINE: usize = 4 * 1024;
/// Time for which a lookup waits for queued lines.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(1);

/// The access log's file cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot open access log {path}: {cause}", path = .path.display())]
pub struct AccessLogError {
    path: PathBuf,
    cause: io::Error,
}

enum Job {
    Write(Box<Record>),
    Flush(SyncSender<()>),
}

/// A handle to the access log; clones share it.
#[derive(Clone)]
pub struct AccessLog {
    jobs: SyncSender<Job>,
    dropped: IntCounter,
    recent: Arc<RecentLines>,
    tail: Option<Arc<Tail>>,
    /// The writer, until its thread starts.
    unstarted: Arc<Mutex<Option<Writer>>>,
}

impl AccessLog {
    /// Opens the log. Lines wait in the queue until [`AccessLog::start`]: a thread would not
    /// survive the fork of `-d`.
    ///
    /// # Errors
    /// If the file cannot be opened for appending.
    pub(crate) fn open(
        section: &AccessLogSection,
        dropped: IntCounter,
    ) -> Result<Self, AccessLogError> {
        let sink = match section.file() {
            None => Sink::Stdout(io::stdout()),
            Some(path) => {
                let opened = OpenOptions::new().append(true).create(true).open(path);
                Sink::File(opened.map_err(|cause| AccessLogError {
                    path: path.to_owned(),
                    cause,
                })?)
            }
        };
        let (jobs, queue) = sync_channel(QUEUE_LINES);
        let recent = Arc::new(RecentLines::new(section.recent.0, BATCH_BYTES, LAST_LINE));
        let writer = Writer {
            queue,
            sink,
            with_query: section.query,
            clock: Clock::default(),
            block: recent.empty_block(),
            written: 0,
            recent: Arc::clone(&recent),
            failing: false,
            dropped: dropped.clone(),
        };
        let tail = section
            .file()
            .and_then(|path| Tail::open(path, section.recent.0))
            .map(Arc::new);
        Ok(Self {
            jobs,
            dropped,
            recent,
            tail,
            unstarted: Arc::new(Mutex::new(Some(writer))),
        })
    }

    /// Starts the writer's thread. A second call does nothing.
    pub fn start(&self) {
        let Some(writer) = self
            .unstarted
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
        else {
            return;
        };
        if let Err(e) = thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || writer.run())
        {
            error!("access log: cannot start its thread; requests are not logged: {e}");
        }
    }

    /// Queues the line of an event. Never blocks: a line is dropped and counted if the queue is
    /// full. It is the last observer of an event, and gets the event's facts without a copy.
    pub(crate) fn write(&self, record: Box<Record>) {
        if self.jobs.try_send(Job::Write(record)).is_err() {
            self.dropped.inc();
        }
    }

    /// Returns the lines of a request in memory and in the end of the file, the oldest first, after
    /// writing the queued lines. Lines that could not be written are included.
    pub async fn find(&self, id: RequestId) -> Vec<Value> {
        if !self.recent.is_enabled() {
            return Vec::new();
        }
        let log = self.clone();
        let found = tokio::task::spawn_blocking(move || {
            log.flush(LOOKUP_TIMEOUT);
            log.search(&id)
        });
        found.await.unwrap_or_default()
    }

    fn search(&self, id: &RequestId) -> Vec<Value> {
        let kept = self.recent.find(id);
        let written = self
            .tail
            .as_ref()
            .map_or(Ok(Vec::new()), |tail| tail.find(id));
        let mut lines = written.unwrap_or_else(|e| {
            warn!("access log: cannot read the file; only memory is searched: {e}");
            Vec::new()
        });
        // Lines only in memory were not written, or are in a file that was rotated away.
        merge_lines(&mut lines, kept);
        lines
    }

    /// Waits until all queued lines are written, for `limit` at most.
    pub fn flush(&self, limit: Duration) {
        let latest = Instant::now() + limit;
        let (done, written) = sync_channel(1);
        let mut job = Job::Flush(done);
        // The writer makes room in a full queue.
        while let Err(TrySendError::Full(again)) = self.jobs.try_send(job) {
            if Instant::now() >= latest {
                return warn!("access log: not flushed within {limit:?}");
            }
            job = again;
            thread::park_timeout(GATHER);
        }
        let left = latest.saturating_duration_since(Instant::now());
        if written.recv_timeout(left) == Err(RecvTimeoutError::Timeout) {
            warn!("access log: not flushed within {limit:?}");
        }
    }
}

enum Sink {
    Stdout(io::Stdout),
    File(File),
}

struct Writer {
    queue: Receiver<Job>,
    sink: Sink,
    with_query: bool,
    clock: Clock,
    /// Lines. Those before `written` are written, and stay for lookups.
    block: Vec<u8>,
    written: usize,
    recent: Arc<RecentLines>,
    failing: bool,
    dropped: IntCounter,
}

/// Writes `bytes` from `done` on, and counts the written bytes in `done`, also before an error.
fn write_from(to: &mut impl Write, bytes: &[u8], done: &mut usize) -> io::Result<()> {
    while let Some(rest) = bytes.get(*done..).filter(|rest| !rest.is_empty()) {
        match to.write(rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => *done += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

impl Writer {
    fn run(mut self) {
        while let Ok(first) = self.queue.recv() {
            let mut lines = 0_u64;
            let mut flushed = Vec::new();
            let mut next = Some(first);
            while let Some(job) = next {
                match job {
                    Job::Write(record) => {
                        let event = record.event();
                        line::write(&event, &mut self.block, &mut self.clock, self.with_query);
                        lines += 1;
                    }
                    Job::Flush(done) => flushed.push(done),
                }
                next = if self.has_room() {
                    self.queue.try_recv().ok()
                } else {
                    None
                };
            }
            let ran_empty = self.has_room();
            self.write_block(lines, !flushed.is_empty());
            for done in &flushed {
                // The waiting thread may have timed out.
                let _ = done.try_send(());
            }
            if flushed.is_empty() && ran_empty {
                thread::park_timeout(GATHER);
            }
        }
    }

    fn has_room(&self) -> bool {
        self.block.len() < self.recent.block_bytes()
    }

    /// Writes the unwritten part of the block, which has `lines` lines. A block that is full, or
    /// that a lookup waits for (`awaited`), is kept in memory.
    fn write_block(&mut self, lines: u64, awaited: bool) {
        let mut done = self.written;
        let written = match &mut self.sink {
            Sink::Stdout(out) => write_from(out, &self.block, &mut done).and_then(|()| out.flush()),
            Sink::File(file) => write_from(file, &self.block, &mut done),
        };
        let partial = written.is_err() && done > self.written;
        if awaited || !self.has_room() || !self.recent.is_enabled() {
            self.block = self.recent.push(std::mem::take(&mut self.block));
        }
        self.written = self.block.len();
        if partial {
            // The partial line ends here, so that the next line is whole.
            self.block.push(b'\n');
        }
        match written {
            Ok(()) => self.failing = false,
            Err(e) => {
                self.dropped.inc_by(lines);
                if !std::mem::replace(&mut self.failing, true) {
                    error!("access log: cannot write; lines are dropped until it works again: {e}");
                }
            }
        }
    }
}
