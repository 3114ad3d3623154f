//! Responses through the engine and through Pingora's loop; see `engine/tests/differential`. The
//! first byte is the method of the request.
#![no_main]

use app_proxy_tests::corpus::show;
use differential::harness::{Proxies, Verdict, judge_answers};
use libfuzzer_sys::fuzz_target;

#[path = "../../engine/tests/differential"]
mod differential {
    #[allow(dead_code, unused_imports)] // The test uses more of it.
    pub(crate) mod harness;
}

thread_local! {
    static PROXIES: Proxies = Proxies::new();
}

fuzz_target!(|input: &[u8]| PROXIES.with(|proxies| {
    let Some((first, input)) = input.split_first() else {
        return;
    };
    let method = if first & 1 == 0 { "GET" } else { "HEAD" };
    let engine = proxies.engine_answer(method, input);
    let other = proxies.pingora_answer(method, input);
    if let Verdict::Fault(fault) = judge_answers(input, &engine, &other) {
        panic!("{method}: {fault}\n  {}", show(input));
    }
}));
