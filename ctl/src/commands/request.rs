//! `app-proxyctl request`: the events of one request at both tiers.

mod trace;

use crate::api::{Api, path, read};
use crate::cli::RequestArgs;
use crate::error::CtlError;
use crate::output::Printer;
use trace::Trace;

pub(super) async fn run(
    args: &RequestArgs,
    api: &Api,
    printer: &mut Printer<'_>,
) -> Result<(), CtlError> {
    let object = api.get(path(&["requests", &args.id])).await?;
    let trace: Trace = read(&object)?;
    if printer.is_for_people() {
        if let Some(text) = trace.to_text() {
            printer.text(&text)?;
        }
    } else {
        printer.object(&object)?;
    }
    for failed in &trace.workers_failed {
        printer.note(&format!(
            "worker {} could not be queried: {}",
            failed.worker, failed.error
        ))?;
    }
    if trace.events.is_empty() {
        return Err(CtlError::Failed(format!(
            "{}: {}",
            args.id,
            trace.empty_reason()
        )));
    }
    Ok(())
}
