//! The established request identifier is valid (rules 1 to 5) for any headers, and a valid inbound
//! identifier is kept unchanged.
#![no_main]

use std::sync::LazyLock;

use app_proxy_hop::config::RequestIdSection;
use app_proxy_hop::identity::{Identify, IdentityPolicy, check};
use http::{HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;

static POLICY: LazyLock<IdentityPolicy> =
    LazyLock::new(|| IdentityPolicy::new(&RequestIdSection::default()));

fuzz_target!(|input: &[u8]| {
    let Some((count, input)) = input.split_first() else {
        return;
    };
    let (main, alias) = (POLICY.header().clone(), POLICY.aliases().first().cloned());
    let mut headers = HeaderMap::new();
    for (index, value) in input.split(|&byte| byte == b'\n').enumerate() {
        let name: HeaderName = match (&alias, count >> (index % 8) & 1) {
            (Some(alias), 1) => alias.clone(),
            _ => main.clone(),
        };
        if let Ok(value) = HeaderValue::from_bytes(value) {
            headers.append(name, value);
        }
    }
    let established = POLICY.identify(&headers, None);
    let id = established.id.as_str().as_bytes();
    assert_eq!(check(id), Ok(()));
    if !established.generated {
        assert!(headers.values().any(|value| value.as_bytes() == id));
    }
    let mut inbound = headers.get_all(&main).iter();
    if let (Some(only), None) = (inbound.next(), inbound.next()) {
        assert_eq!(established.generated, check(only.as_bytes()).is_err());
    }
});
