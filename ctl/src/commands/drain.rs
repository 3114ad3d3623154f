//! `app-proxyctl drain`: a worker out of service, and how that goes on.

mod progress;

use std::time::Duration;

use app_proxy_api::client::{Call, ClientError, Reply};
use app_proxy_api::workers::{DrainRequest, WorkerView};
use http::Method;
use tokio::time::{Instant, sleep};

use crate::api::{Api, Object, is_missing, path, read};
use crate::cli::DrainArgs;
use crate::failure::CtlError;
use crate::output::Printer;
use progress::{Progress, Step};

/// How often a drain is looked at.
const INTERVAL: Duration = Duration::from_millis(500);
/// How long a coordinator may be away while its drain is looked at, as it is when it restarts.
const ABSENCE: Duration = Duration::from_secs(15);

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
    let told = progress::in_words(&view, printer.now());
    printer.done(&format!("{id}: {told}"))
}

/// Waits until nothing is left, or the deadline has passed.
async fn wait(id: &str, api: &Api, printer: &mut Printer<'_>) -> Result<(), CtlError> {
    let (mut progress, mut last_object) = (Progress::default(), None::<Object>);
    let mut last_seen = Instant::now();
    let step = loop {
        let step = match api.try_call(Call::get(path(&["workers", id]))).await {
            Ok(answer) => {
                last_seen = Instant::now();
                let object = api.object(&answer)?;
                let view: WorkerView = read(&object)?;
                let step = progress.seen(&view, server_time(&answer, printer));
                last_object = Some(object);
                step
            }
            Err(e) if is_missing(&e) => progress.gone(),
            // The drain goes on without us; one failed look says nothing about it.
            Err(ClientError::Unreachable(_)) if last_seen.elapsed() < ABSENCE => Step::Unchanged,
            Err(e) => return Err(api.failure(e).about(id)),
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
        Step::Left(text) => Err(CtlError::Left(format!("{id}: {text}"))),
        Step::Undrained => Err(CtlError::Failed(format!(
            "{id}: somebody has ended the drain"
        ))),
        Step::Done(text) => printer.done(&format!("{id}: {text}")),
        Step::Unchanged | Step::Changed(_) => Ok(()),
    }
}

/// The time at the coordinator, which its deadline is to be compared with: clocks of two hosts may
/// differ.
fn server_time(answer: &Reply, printer: &Printer<'_>) -> chrono::DateTime<chrono::Utc> {
    let date = answer
        .headers
        .get(http::header::DATE)
        .and_then(|date| date.to_str().ok());
    progress::server_time(date, printer.now())
}
