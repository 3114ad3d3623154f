//! `app-proxyctl apps`: list, show, store and delete apps.

mod file;

use app_proxy_api::apps::{App, AppTimeouts, Endpoint};
use app_proxy_api::client::Call;
use app_proxy_api::table::{ServedBy, StoredApp};
use http::{HeaderValue, Method, StatusCode, header};

use super::Batch;
use crate::api::{Api, Object, path, read};
use crate::cli::{AppsCommand, PutArgs, SetArgs};
use crate::error::CtlError;
use crate::output::Printer;
use file::AppsFile;

pub(super) async fn run(
    command: &AppsCommand,
    api: &Api,
    printer: &mut Printer<'_>,
) -> Result<(), CtlError> {
    match command {
        AppsCommand::List(args) => {
            let apps = api.list(&path(&["apps"]), &[], args.limit).await?;
            printer.list::<StoredApp>(apps)
        }
        AppsCommand::Get(choice) => {
            let app = api
                .get(path(&["apps", &choice.name]))
                .await
                .map_err(|e| e.about(&choice.name))?;
            printer.one::<StoredApp>(&app)
        }
        AppsCommand::Put(args) => put(args, api, printer).await,
        AppsCommand::Set(args) => set(args, api, printer).await,
        AppsCommand::Delete { names } => delete(names, api, printer).await,
    }
}

async fn put(args: &PutArgs, api: &Api, printer: &mut Printer<'_>) -> Result<(), CtlError> {
    let file = AppsFile::read(&args.file).map_err(|e| CtlError::Failed(e.to_string()))?;
    if args.if_match.is_some() && file.apps.len() > 1 {
        return Err(CtlError::Usage(
            "--if-match needs a file with one app".to_owned(),
        ));
    }
    let (mut batch, mut stored) = (Batch::default(), Vec::new());
    for app in &file.apps {
        match store(app, args.if_match, api, printer).await {
            Err(error @ CtlError::Unavailable(_)) => {
                // The apps that were stored before are a result.
                show_stored(stored, file.is_list, printer)?;
                return Err(error);
            }
            result => stored.extend(batch.record(&app.name, result, printer)?),
        }
    }
    show_stored(stored, file.is_list, printer)?;
    batch.finish()
}

/// Prints the stored apps for programs: one app or a list, like the file. For people, each app was
/// printed when it was stored.
fn show_stored(
    mut stored: Vec<Object>,
    is_list: bool,
    printer: &mut Printer<'_>,
) -> Result<(), CtlError> {
    if printer.is_for_people() {
        return Ok(());
    }
    if is_list {
        return printer.object(&stored);
    }
    stored.pop().map_or(Ok(()), |app| printer.object(&app))
}

async fn set(args: &SetArgs, api: &Api, printer: &mut Printer<'_>) -> Result<(), CtlError> {
    let app = App {
        name: args.name.clone(),
        rules: Vec::new(),
        upstream_path: args.upstream_path,
        affinity: args.affinity,
        pool: args.pool.iter().cloned().collect(),
        endpoints: args
            .endpoints
            .iter()
            .map(|address| Endpoint {
                address: address.clone(),
                weight: 1,
            })
            .collect(),
        timeouts: AppTimeouts::default(),
        idle: None,
        wake: None,
    };
    app.validate().map_err(|e| CtlError::Usage(e.to_string()))?;
    let stored = store(&app, args.if_match, api, printer)
        .await
        .map_err(|e| e.about(&app.name))?;
    show_stored(vec![stored], false, printer)
}

/// Stores an app and prints the result.
async fn store(
    app: &App,
    if_match: Option<u64>,
    api: &Api,
    printer: &mut Printer<'_>,
) -> Result<Object, CtlError> {
    let mut call = Call::new(Method::PUT, path(&["apps", &app.name]))
        .json(app)
        .map_err(|e| CtlError::Failed(e.to_string()))?;
    if let Some(revision) = if_match {
        let tag = HeaderValue::try_from(format!("\"{revision}\""))
            .map_err(|e| CtlError::Failed(e.to_string()))?;
        call = call.header(header::IF_MATCH, tag);
    }
    let reply = api.call(call).await?;
    let stored = api.object(&reply)?;
    let action = if reply.status == StatusCode::CREATED {
        "created"
    } else {
        "stored"
    };
    let revision = read::<StoredApp>(&stored)?.revision;
    printer.done(&format!("{} {action}, revision {revision}", app.name))?;
    if stored.get("served_by").is_some() {
        warn_of_others(&app.name, printer)?;
    }
    Ok(stored)
}

/// Warns that a change is stored, but that a coordinator did not apply it in time.
fn warn_of_others(name: &str, printer: &mut Printer<'_>) -> Result<(), CtlError> {
    printer.note(&format!(
        "warning: {name}: a coordinator that shares the store does not serve the change yet"
    ))
}

async fn delete(names: &[String], api: &Api, printer: &mut Printer<'_>) -> Result<(), CtlError> {
    let mut batch = Batch::default();
    for name in names {
        let result = api
            .call(Call::new(Method::DELETE, path(&["apps", name])))
            .await;
        if let Some(reply) = batch.record(name, result, printer)? {
            printer.done(&format!("{name} deleted"))?;
            if reply.headers.contains_key(ServedBy::HEADER) {
                warn_of_others(name, printer)?;
            }
        }
    }
    batch.finish()
}
