//! Real pages in a real browser, through the coordinator and a worker.
//!
//! Needs what `make test-deps` installs: Chromium, its driver, and JupyterLab in `target/jupyter`.

// A test reports what went wrong by panicking, and indexes JSON that it has just read.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod process;

mod browser;
mod follow;

mod docs;
mod jupyter;
mod sample;
