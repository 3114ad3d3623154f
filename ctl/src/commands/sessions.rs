//! `app-proxyctl sessions`: list, show and delete sessions.

use app_proxy_api::client::Call;
use app_proxy_api::sessions::SessionView;
use http::Method;

use super::Batch;
use crate::api::{Api, path};
use crate::cli::{SessionFilter, SessionsCommand};
use crate::error::CtlError;
use crate::output::Printer;

pub(super) async fn run(
    command: &SessionsCommand,
    api: &Api,
    printer: &mut Printer<'_>,
) -> Result<(), CtlError> {
    match command {
        SessionsCommand::List(filter) => list(filter, api, printer).await,
        SessionsCommand::Get { id } => {
            let session = api
                .get(path(&["sessions", id]))
                .await
                .map_err(|e| e.about(id))?;
            printer.one::<SessionView>(&session)
        }
        SessionsCommand::Delete { ids } => delete(ids, api, printer).await,
    }
}

async fn list(
    filter: &SessionFilter,
    api: &Api,
    printer: &mut Printer<'_>,
) -> Result<(), CtlError> {
    let idle_for = filter.idle_for.map(String::from);
    let values = [
        ("app", filter.app.as_deref()),
        ("worker", filter.worker.as_deref()),
        ("idle_for", idle_for.as_deref()),
    ];
    let sessions = api
        .list(&path(&["sessions"]), &values, filter.list.limit)
        .await?;
    printer.list::<SessionView>(sessions)
}

async fn delete(ids: &[String], api: &Api, printer: &mut Printer<'_>) -> Result<(), CtlError> {
    let mut batch = Batch::default();
    for id in ids {
        let result = api
            .call(Call::new(Method::DELETE, path(&["sessions", id])))
            .await;
        if batch.record(id, result, printer)?.is_some() {
            printer.done(&format!("{id} deleted"))?;
        }
    }
    batch.finish()
}
