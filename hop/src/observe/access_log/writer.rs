//! The thread that writes.

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
use crate::observe::access_log::join_lines;
use crate::observe::access_log::line::LogLine;
use crate::observe::access_log::recent::Recent;
use crate::observe::access_log::tail::Tail;

/// Lines that wait for the writer before further ones are dropped.
const QUEUE_LINES: usize = 16_384;
/// Bytes after which a batch is written.
const BATCH_BYTES: usize = 64 * 1024;
/// How long the writer gathers lines: a system call for a batch costs less than one for each line.
const GATHER: Duration = Duration::from_millis(10);
/// Room in a block for the line that fills it.
const LAST_LINE: usize = 4 * 1024;
/// How long a lookup waits for the lines that are queued.
const LOOKUP: Duration = Duration::from_secs(1);

/// The log file cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("access log {path}: {cause}", path = .path.display())]
pub struct OpenError {
    path: PathBuf,
    cause: io::Error,
}

enum Job {
    LogLine(Box<LogLine>),
    Flush(SyncSender<()>),
}

/// A handle to the access log; clones share it.
#[derive(Clone)]
pub struct AccessLog {
    jobs: SyncSender<Job>,
    dropped: IntCounter,
    recent: Arc<Recent>,
    tail: Option<Arc<Tail>>,
    idle: Arc<Mutex<Option<Writer>>>,
}

impl AccessLog {
    /// Opens the log. Nothing is written before [`AccessLog::start`], because a thread would not
    /// survive the fork of `-d`; lines wait in the queue until then.
    ///
    /// # Errors
    /// When the file cannot be opened for appending.
    pub fn open(section: &AccessLogSection, dropped: IntCounter) -> Result<Self, OpenError> {
        let sink = match section.file() {
            None => Sink::Stdout(io::stdout()),
            Some(path) => {
                let opened = OpenOptions::new().append(true).create(true).open(path);
                Sink::File(opened.map_err(|cause| OpenError {
                    path: path.to_owned(),
                    cause,
                })?)
            }
        };
        let (jobs, queue) = sync_channel(QUEUE_LINES);
        let recent = Arc::new(Recent::new(section.recent.0, BATCH_BYTES, LAST_LINE));
        let writer = Writer {
            queue,
            sink,
            with_query: section.query,
            block: recent.empty_block(),
            written: 0,
            recent: Arc::clone(&recent),
            failing: false,
            dropped: dropped.clone(),
        };
        let tail = section
            .file()
            .and_then(|path| Tail::of(path, section.recent.0))
            .map(Arc::new);
        Ok(Self {
            jobs,
            dropped,
            recent,
            tail,
            idle: Arc::new(Mutex::new(Some(writer))),
        })
    }

    /// Starts the writer's thread. A second call does nothing.
    pub fn start(&self) {
        let Some(writer) = self
            .idle
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
            error!("the access log has no thread, nothing will be logged: {e}");
        }
    }

    /// Hands a line to the writer. Never blocks: a line that finds the queue full is dropped and
    /// counted.
    pub fn write(&self, line: LogLine) {
        if self.jobs.try_send(Job::LogLine(Box::new(line))).is_err() {
            self.dropped.inc();
        }
    }

    /// The lines of a request that are still kept in memory or are in the end of the file, the
    /// oldest first, those that could not be written among them. What is queued is written out
    /// first.
    pub async fn recent(&self, id: RequestId) -> Vec<Value> {
        if !self.recent.is_on() {
            return Vec::new();
        }
        let log = self.clone();
        // Waiting and searching block.
        let found = tokio::task::spawn_blocking(move || {
            log.flush(LOOKUP);
            log.lines_of(&id)
        });
        found.await.unwrap_or_default()
    }

    fn lines_of(&self, id: &RequestId) -> Vec<Value> {
        let kept = self.recent.lines_of(id);
        let written = self
            .tail
            .as_ref()
            .map_or(Ok(Vec::new()), |tail| tail.lines_of(id));
        let mut lines = written.unwrap_or_else(|e| {
            warn!("the access log cannot be read, a request is looked up in memory alone: {e}");
            Vec::new()
        });
        // What is in memory alone is not written, or in a file that was put aside.
        join_lines(&mut lines, kept);
        lines
    }

    /// Waits until all that was handed over is written, or `limit` has passed.
    pub fn flush(&self, limit: Duration) {
        let latest = Instant::now() + limit;
        let (done, written) = sync_channel(1);
        let mut job = Job::Flush(done);
        // A queue that is full is being written; there is room in it soon.
        while let Err(TrySendError::Full(again)) = self.jobs.try_send(job) {
            if Instant::now() >= latest {
                return warn!("the access log was not written out within {limit:?}");
            }
            job = again;
            thread::park_timeout(GATHER);
        }
        let left = latest.saturating_duration_since(Instant::now());
        if written.recv_timeout(left) == Err(RecvTimeoutError::Timeout) {
            warn!("the access log was not written out within {limit:?}");
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
    /// Lines; those before `written` have been written, and stay for those who look a request up.
    block: Vec<u8>,
    written: usize,
    recent: Arc<Recent>,
    failing: bool,
    dropped: IntCounter,
}

/// Writes all of `bytes`, counting in `done` what has been written before an error.
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
                    Job::LogLine(line) => {
                        line.write(&mut self.block, self.with_query);
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
            self.put(lines, !flushed.is_empty());
            for done in &flushed {
                // Whoever asked may have stopped waiting.
                let _ = done.try_send(());
            }
            if flushed.is_empty() && ran_empty {
                thread::park_timeout(GATHER);
            }
        }
    }

    fn has_room(&self) -> bool {
        self.block.len() < self.recent.block()
    }

    /// Writes what has not been written. A block that is full, or that somebody waits for, is
    /// handed over.
    fn put(&mut self, lines: u64, awaited: bool) {
        let mut done = self.written;
        let written = match &mut self.sink {
            Sink::Stdout(out) => write_from(out, &self.block, &mut done).and_then(|()| out.flush()),
            Sink::File(file) => write_from(file, &self.block, &mut done),
        };
        let torn = written.is_err() && done > self.written;
        if awaited || !self.has_room() || !self.recent.is_on() {
            self.block = self.recent.hand_over(std::mem::take(&mut self.block));
        }
        self.written = self.block.len();
        if torn {
            // Whatever was torn ends here, so that the next line is one.
            self.block.push(b'\n');
        }
        match written {
            Ok(()) => self.failing = false,
            Err(e) => {
                self.dropped.inc_by(lines);
                if !std::mem::replace(&mut self.failing, true) {
                    error!("the access log cannot be written, lines are lost until it can: {e}");
                }
            }
        }
    }
}
