//! Path normalisation; see `app_proxy_coordinator::fuzz::path`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|raw: &str| app_proxy_coordinator::fuzz::path(raw));
