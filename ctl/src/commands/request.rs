//! `app-proxyctl request`: the story of one request, as both tiers tell it.

mod story;

use crate::api::{Api, path, read};
use crate::cli::RequestArgs;
use crate::failure::CtlError;
use crate::output::Printer;
use story::Story;

pub(super) async fn run(
    args: &RequestArgs,
    api: &Api,
    printer: &mut Printer<'_>,
) -> Result<(), CtlError> {
    let object = api.get(path(&["requests", &args.id])).await?;
    let story: Story = read(&object)?;
    if printer.is_for_people() {
        if let Some(text) = story.in_words() {
            printer.text(&text)?;
        }
    } else {
        printer.object(&object)?;
    }
    for failed in &story.workers_failed {
        printer.note(&format!(
            "worker {} could not be asked: {}",
            failed.worker, failed.error
        ))?;
    }
    if story.events.is_empty() {
        return Err(CtlError::Failed(format!(
            "{}: {}",
            args.id,
            story.why_nothing()
        )));
    }
    Ok(())
}
