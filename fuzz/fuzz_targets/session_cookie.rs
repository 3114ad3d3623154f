//! Nobody can make a session value, and removing the cookie leaves the others as they are.
#![no_main]

use std::sync::LazyLock;

use app_proxy_coordinator::sessions::cookie::{
    Removed, SessionId, SessionKey, session_value, session_values, without_cookie,
};
use libfuzzer_sys::fuzz_target;

const NAME: &str = "sid";

static KEY: LazyLock<SessionKey> =
    LazyLock::new(|| SessionKey::new(b"a secret of more than thirty-two bytes").expect("a key"));

fn others(header: &[u8]) -> Vec<&[u8]> {
    header
        .split(|&byte| byte == b';')
        .filter(|pair| session_values(pair, NAME).next().is_none())
        .map(|pair| {
            let start = pair.iter().position(|b| !matches!(b, b' ' | b'\t'));
            start.map_or(&[][..], |start| &pair[start..])
        })
        .filter(|pair| !pair.is_empty())
        .collect()
}

fuzz_target!(|header: &[u8]| {
    let _ = KEY.verify("app", header);
    for value in session_values(header, NAME) {
        if let Some(id) = KEY.verify("app", value) {
            assert_eq!(session_value(&id, &KEY.sign("app", &id)).as_bytes(), value);
        }
    }
    if let Ok(id) = SessionId::parse(header) {
        assert_eq!(id.as_str().as_bytes(), header);
        let value = session_value(&id, &KEY.sign("app", &id));
        assert_eq!(KEY.verify("app", value.as_bytes()), Some(id));
        assert_eq!(KEY.verify("other", value.as_bytes()), None);
    }
    match without_cookie(header, NAME) {
        Removed::Unchanged => assert_eq!(session_values(header, NAME).count(), 0),
        Removed::Rest(rest) => {
            assert_eq!(session_values(&rest, NAME).count(), 0);
            assert_eq!(others(&rest), others(header));
            assert!(rest.len() < header.len());
        }
        Removed::Nothing => assert!(others(header).is_empty()),
    }
});
