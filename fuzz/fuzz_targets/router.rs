//! Routing by host and path; see `app_proxy_coordinator::fuzz::router`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &str| app_proxy_coordinator::fuzz::router(input));
