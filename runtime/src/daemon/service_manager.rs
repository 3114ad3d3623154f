//! Reports to the service manager: systemd's notifications, where `NOTIFY_SOCKET` is set.

use log::warn;
use sd_notify::NotifyState;

/// Reports that this process serves, and is the main process of the unit.
pub(super) fn ready() {
    notify(&[NotifyState::MainPid(std::process::id()), NotifyState::Ready]);
}

/// Reports the begin of a reload; [`reloaded`] reports its end.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(e) => warn!("cannot read the clock for the service manager: {e}"),
    }
}

/// Reports the end of a reload, successful or not.
pub(super) fn reloaded() {
    notify(&[NotifyState::Ready]);
}

/// Reports that the daemon ends. Not for a daemon with a successor, which is the unit's main
/// process then.
pub(super) fn stopping() {
    notify(&[NotifyState::Stopping]);
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(e) = sd_notify::notify(states) {
        warn!("cannot notify the service manager: {e}");
    }
}
