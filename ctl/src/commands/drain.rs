//! `app-proxyctl drain`: drain a worker and wait for the end.

mod progress;

use std::time::Duration;

use app_proxy_api::client::{Call, ClientError, Reply};
use app_proxy_api::workers::{DrainRequest, WorkerView};
use http::Method;
use tokio::time::{Instant, sleep};

use crate::api::{Api, Object, is_missing, path, read};
use crate::cli::DrainArgs;
use crate::error::CtlError;
use crate::output::Printer;
use progress::{Progress, Step};

/// Interval of reading the worker's state.
const INTERVAL: Duration = Duration::from_millis(500);
/// The maximum absence of the coordinator while the command waits, such as for a restart.
const MAX_ABSENCE: Duration = Duration::from_secs(15);

pub(super) async fn run(
    args: &DrainArgs,
    api: &Api,
    printer: &mut Printer<'_>,
) -> Result<(), CtlError> {
    let id = &args.id;
    let about = |e: CtlError| e.about(id);
    let call = Call::new(Method::POST, path(&["workers", id, "drain"]))
        .json(&DrainRequest {
            deadline: args.deadline,
        })
        .map_err(|e| CtlError::Failed(e.to_string()))?;
    api.call(call).await.map_err(about)?;
    if args.wait {
        return wait(id, api, printer).await;
    }
    let worker = api.get(path(&["workers", id])).await.map_err(about)?;
    if !printer.is_for_people() {
        return printer.one::<WorkerView>(&worker);
    }
    let view: WorkerView = read(&worker)?;
    let text = progress::describe(&view, printer.now());
    printer.done(&format!("{id}: {text}"))
}

/// Waits until no request and no stream is left, or the deadline has passed.
async fn wait(id: &str, api: &Api, printer: &mut Printer<'_>) -> Result<(), CtlError> {
    let (mut progress, mut last_object) = (Progress::default(), None::<Object>);
    let mut last_seen = Instant::now();
    let step = loop {
        let step = match api.try_call(Call::get(path(&["workers", id]))).await {
            Ok(reply) => {
                last_seen = Instant::now();
                let object = api.object(&reply)?;
                let view: WorkerView = read(&object)?;
                let step = progress.update(&view, server_time(&reply, printer));
                last_object = Some(object);
                step
            }
            Err(e) if is_missing(&e) => progress.gone(),
            // The drain continues in the meantime.
            Err(ClientError::Unreachable(_)) if last_seen.elapsed() < MAX_ABSENCE => {
                Step::Unchanged
            }
            Err(e) => return Err(api.error(e).about(id)),
        };
        match step {
            Step::Unchanged => {}
            Step::Changed(text) => printer.note(&format!("{id}: {text}"))?,
            step => break step,
        }
        sleep(INTERVAL).await;
    };
    if let (false, Some(object)) = (printer.is_for_people(), &last_object) {
        printer.one::<WorkerView>(object)?;
    }
    match step {
        Step::Incomplete(text) => Err(CtlError::DrainIncomplete(format!("{id}: {text}"))),
        Step::Undrained => Err(CtlError::Failed(format!(
            "{id}: the drain was ended by another command"
        ))),
        Step::Done(text) => printer.done(&format!("{id}: {text}")),
        Step::Unchanged | Step::Changed(_) => Ok(()),
    }
}

/// Returns the coordinator's time, which the deadline is compared with: the clocks of two hosts may
/// differ.
fn server_time(reply: &Reply, printer: &Printer<'_>) -> chrono::DateTime<chrono::Utc> {
    let date = reply
        .headers
        .get(http::header::DATE)
        .and_then(|date| date.to_str().ok());
    progress::server_time(date, printer.now())
}
