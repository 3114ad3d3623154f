//! The engine beside Pingora's loop and hyper's server; see `engine/tests/differential`.
#![no_main]

use app_proxy_tests::corpus::show;
use differential::harness::{Proxies, Verdict, judge};
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
    let engine = proxies.engine(input);
    for (name, other) in [
        ("Pingora", proxies.pingora(input)),
        ("hyper", proxies.hyper(input)),
    ] {
        if let Verdict::Fault(fault) = judge(input, &engine, &other) {
            panic!("{name}: {fault}\n  {}", show(input));
        }
    }
}));
