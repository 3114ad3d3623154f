//! Request heads; see `app_proxy_engine::fuzzing::request_head`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| app_proxy_engine::fuzzing::request_head(input));
