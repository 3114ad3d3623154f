//! Checks of the configuration that its types cannot express. An error names the line and the key.

use std::collections::HashSet;

use app_proxy_api::apps::{App, check_labels};
use app_proxy_api::workers::{WorkerRegistration, check_id};
use app_proxy_hop::config::{CoordinatorLimitsSection, Limits};
use app_proxy_runtime::config::{ConfigError, ConfigFile};
use http::HeaderName;

use super::sections::{
    HealthCheckSection, RawCoordinator, RegistrationSection, SessionsSection, StoreKind,
    StoreSection, WorkerSection,
};
use crate::router::{HostName, Router, rules};

/// Checks all sections. Returns the domain of the apps and the header of sessions.
pub(super) fn validate(
    file: &ConfigFile,
    raw: &RawCoordinator,
) -> Result<(Option<HostName>, HeaderName), ConfigError> {
    if raw.listeners.is_empty() {
        return Err(file.fault_at("listeners", "`listeners` must not be empty"));
    }
    let domain = raw.domain.as_deref().map(HostName::parse).transpose();
    let domain = domain.map_err(|e| file.fault_at("domain", &format!("domain: {e}")))?;
    let header = &raw.sessions.header;
    let session_header = header.parse::<HeaderName>().map_err(|_| {
        let text = format!("sessions.header: `{header}` is not a header name");
        file.fault_at(header, &text)
    })?;
    check_sessions(file, &raw.sessions)?;
    check_store(file, &raw.store)?;
    check_health(file, &raw.health_check)?;
    file.check_timeouts(&raw.timeouts)?;
    check_workers(file, &raw.workers)?;
    check_registration(file, raw.registration)?;
    check_apps(file, &raw.apps, domain.clone())?;
    Ok((domain, session_header))
}

/// Returns the limits of requests and responses.
pub(super) fn limits(
    file: &ConfigFile,
    section: &CoordinatorLimitsSection,
) -> Result<Limits, ConfigError> {
    section.resolve().map_err(|fault| {
        let key = fault.key;
        let text = format!("limits.{key}: must be {}", fault.range);
        file.fault_at(&format!("{key}:"), &text)
    })
}

fn check_sessions(file: &ConfigFile, sessions: &SessionsSection) -> Result<(), ConfigError> {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if sessions.cookie.is_empty() || !sessions.cookie.bytes().all(token) {
        return Err(file.fault_at(
            &sessions.cookie,
            &format!(
                "sessions.cookie: `{}` is not a cookie name",
                sessions.cookie
            ),
        ));
    }
    if sessions.max < 4 {
        return Err(file.fault_at("max:", "sessions.max: must be at least 4"));
    }
    if sessions.ttl.0.is_zero() {
        return Err(file.fault_at("ttl:", "sessions.ttl: must be longer than 0"));
    }
    Ok(())
}

fn check_store(file: &ConfigFile, store: &StoreSection) -> Result<(), ConfigError> {
    if store.shared && store.kind == StoreKind::Memory {
        let text = "store.shared: a store in memory belongs to one process";
        return Err(file.fault_at("shared:", text));
    }
    Ok(())
}

fn check_health(file: &ConfigFile, check: &HealthCheckSection) -> Result<(), ConfigError> {
    for (name, wrong) in [
        ("interval", check.interval.0.is_zero()),
        ("timeout", check.timeout.0.is_zero()),
        ("unhealthy_after", check.unhealthy_after == 0),
        ("healthy_after", check.healthy_after == 0),
    ] {
        if wrong {
            return Err(file.fault_at(
                &format!("{name}:"),
                &format!("health_check.{name}: must be more than 0"),
            ));
        }
    }
    Ok(())
}

fn check_registration(
    file: &ConfigFile,
    registration: RegistrationSection,
) -> Result<(), ConfigError> {
    if (RegistrationSection::SHORTEST..=RegistrationSection::LONGEST)
        .contains(&registration.lease.0)
    {
        return Ok(());
    }
    Err(file.fault_at("lease:", "registration.lease: must be 100ms to 1h"))
}

fn check_workers(file: &ConfigFile, workers: &[WorkerSection]) -> Result<(), ConfigError> {
    let fault = |id: &str, text: String| file.fault_at(&format!("id: {id}"), &text);
    let mut seen = HashSet::new();
    for worker in workers {
        let id = &worker.id;
        check_id(id).map_err(|e| fault(id, format!("workers: {e}")))?;
        if !(1..=WorkerRegistration::MAX_WEIGHT).contains(&worker.weight) {
            return Err(fault(
                id,
                format!(
                    "workers: the weight of `{id}` is not 1 to {}",
                    WorkerRegistration::MAX_WEIGHT
                ),
            ));
        }
        check_labels("labels", &worker.labels)
            .map_err(|e| fault(id, format!("workers: `{id}`: {e}")))?;
        if !seen.insert(id.clone()) || !seen.insert(worker.address.to_string()) {
            return Err(fault(
                id,
                format!("workers: `{id}` has the id or the address of another worker"),
            ));
        }
    }
    Ok(())
}

fn check_apps(
    file: &ConfigFile,
    apps: &[App],
    domain: Option<HostName>,
) -> Result<(), ConfigError> {
    let fault = |name: &str, text: String| {
        file.fault_at(&format!("name: {name}"), &format!("apps: {text}"))
    };
    let mut router = Router::new(domain);
    for app in apps {
        let fault_of =
            |e: &dyn std::fmt::Display| fault(&app.name, format!("app `{}`: {e}", app.name));
        app.validate().map_err(|e| fault_of(&e))?;
        let rules = rules(app).map_err(|e| fault_of(&e))?;
        router
            .add_app(&app.name, &rules, ())
            .map_err(|e| fault(&app.name, e.to_string()))?;
    }
    Ok(())
}
