//! Session values and the `Cookie` header; see `app_proxy_coordinator::fuzz::session_cookie`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|header: &[u8]| app_proxy_coordinator::fuzz::session_cookie(header));
