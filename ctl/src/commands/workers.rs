//! `app-proxyctl workers`: list, show, drain and remove workers.

use app_proxy_api::client::Call;
use app_proxy_api::workers::WorkerView;
use http::Method;

use super::drain;
use crate::api::{Api, path};
use crate::cli::WorkersCommand;
use crate::error::CtlError;
use crate::output::Printer;

pub(super) async fn run(
    command: &WorkersCommand,
    api: &Api,
    printer: &mut Printer<'_>,
) -> Result<(), CtlError> {
    match command {
        WorkersCommand::List(args) => {
            let workers = api.list(&path(&["workers"]), &[], args.limit).await?;
            printer.list::<WorkerView>(workers)
        }
        WorkersCommand::Get(choice) => {
            let worker = api
                .get(path(&["workers", &choice.id]))
                .await
                .map_err(|e| e.about(&choice.id))?;
            printer.one::<WorkerView>(&worker)
        }
        WorkersCommand::Drain(args) => drain::run(args, api, printer).await,
        WorkersCommand::Undrain(choice) => undrain(&choice.id, api, printer).await,
        WorkersCommand::Remove(choice) => {
            let removed = api
                .call(Call::new(Method::DELETE, path(&["workers", &choice.id])))
                .await;
            removed.map_err(|e| e.about(&choice.id))?;
            printer.done(&format!("{} removed", choice.id))
        }
    }
}

async fn undrain(id: &str, api: &Api, printer: &mut Printer<'_>) -> Result<(), CtlError> {
    let about = |e: CtlError| e.about(id);
    api.call(Call::new(Method::POST, path(&["workers", id, "undrain"])))
        .await
        .map_err(about)?;
    if printer.is_for_people() {
        return printer.done(&format!("{id} gets new sessions again"));
    }
    printer.one::<WorkerView>(&api.get(path(&["workers", id])).await.map_err(about)?)
}
