//! `app-proxyctl`.

fn main() {}
