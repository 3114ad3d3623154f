//! `app-proxyctl check`: findings about a coordinator, its workers and its apps.

mod apps;
mod metrics;
mod workers;

use app_proxy_api::client::{Call, ClientError};
use app_proxy_api::table::{AppList, StoredApp};
use app_proxy_api::workers::WorkerView;
use serde::Serialize;
use tokio::time::{Duration, Instant, sleep};

use crate::api::{Api, path, read};
use crate::cli::CheckArgs;
use crate::error::CtlError;
use crate::output::{Printer, plain};

/// Interval of reading the workers' table revisions.
const INTERVAL: Duration = Duration::from_millis(500);

/// The severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "UPPERCASE")]
enum Level {
    Ok,
    Warn,
    Fail,
}

impl Level {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Warn => "WARN",
            Self::Fail => "FAIL",
        }
    }
}

/// The result of one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Finding {
    level: Level,
    /// The subject, such as `alive` or `workers`.
    subject: &'static str,
    text: String,
}

impl Finding {
    fn new(level: Level, subject: &'static str, text: impl Into<String>) -> Self {
        Self {
            level,
            subject,
            text: text.into(),
        }
    }
}

pub(super) async fn run(
    args: &CheckArgs,
    api: &Api,
    printer: &mut Printer<'_>,
) -> Result<(), CtlError> {
    let mut findings = Vec::new();
    collect(args, api, &mut findings).await;
    if printer.is_for_people() {
        for Finding {
            level,
            subject,
            text,
        } in &findings
        {
            printer.text(&format!(
                "{:<4}  {subject:<8}  {}",
                level.as_str(),
                plain(text)
            ))?;
        }
    } else {
        printer.object(&findings)?;
    }
    let failed = findings.iter().any(|finding| finding.level == Level::Fail);
    if failed {
        Err(CtlError::Reported)
    } else {
        Ok(())
    }
}

async fn collect(args: &CheckArgs, api: &Api, findings: &mut Vec<Finding>) {
    let alive = alive(api).await;
    let reached = alive.level == Level::Ok;
    findings.push(alive);
    if !reached {
        return;
    }
    findings.push(ready(api).await);
    if let Ok(reply) = api.try_call(Call::get("/metrics")).await {
        findings.extend(metrics::findings(&String::from_utf8_lossy(&reply.body)));
    }
    match tables(args, api).await {
        Ok((list, apps, views)) => {
            findings.push(Finding::new(Level::Ok, "token", "is accepted"));
            findings.extend(workers::findings(&list, &views));
            findings.extend(apps::findings(&apps, &views));
        }
        Err(error) => {
            let subject = if matches!(error, CtlError::Unavailable(_)) {
                "token"
            } else {
                "api"
            };
            findings.push(Finding::new(Level::Fail, subject, error.to_string()));
        }
    }
}

async fn alive(api: &Api) -> Finding {
    match api.try_call(Call::get("/healthz")).await {
        Ok(_) => Finding::new(Level::Ok, "alive", format!("{} answers", api.name())),
        Err(e) => Finding::new(Level::Fail, "alive", api.error(e).to_string()),
    }
}

async fn ready(api: &Api) -> Finding {
    match api.try_call(Call::get("/readyz")).await {
        Ok(_) => Finding::new(Level::Ok, "ready", "takes requests"),
        Err(ClientError::Refused { problem, .. }) if !problem.detail.is_empty() => Finding::new(
            Level::Fail,
            "ready",
            format!("is not ready: {}", problem.detail),
        ),
        Err(e) => Finding::new(Level::Fail, "ready", api.error(e).to_string()),
    }
}

/// Returns the state of the app table, the apps, and the workers, once all workers hold the table,
/// or the patience is over.
async fn tables(
    args: &CheckArgs,
    api: &Api,
) -> Result<(AppList, Vec<StoredApp>, Vec<WorkerView>), CtlError> {
    let objects = api.list(&path(&["apps"]), &[], None).await?;
    let apps: Vec<StoredApp> = objects.iter().map(read).collect::<Result<_, _>>()?;
    let list: AppList = read(&api.get("/api/v1/apps?limit=1").await?)?;
    let until = Instant::now() + args.patience.0;
    loop {
        let objects = api.list(&path(&["workers"]), &[], None).await?;
        let views: Vec<WorkerView> = objects.iter().map(read).collect::<Result<_, _>>()?;
        // Workers report their revision when they renew their registration, so that they lag behind
        // a recent change.
        if Instant::now() >= until || !views.iter().any(|worker| workers::lags(&list, worker)) {
            return Ok((list, apps, views));
        }
        sleep(INTERVAL).await;
    }
}
