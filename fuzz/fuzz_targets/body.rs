//! Bodies, in any split; see `app_proxy_engine::fuzzing::body`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| app_proxy_engine::fuzzing::body(input));
