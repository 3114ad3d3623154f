//! The corpus as the seeds of the fuzz targets.

use std::path::PathBuf;

use app_proxy_tests::corpus::{self, Case};

/// The longest seed, in bytes: a fuzzer is slow with long ones.
const MAX_SEED: usize = 4096;

#[test]
#[ignore = "writes the seeds of the fuzz targets: scripts/fuzz.sh runs it"]
fn seeds_of_the_fuzz_targets_are_written() {
    for (index, case) in corpus::load("requests").iter().enumerate() {
        let bytes = case.client_bytes();
        write("request_head", index, &bytes);
        write("differential", index, &bytes);
        write_body(index, case);
    }
    for (index, case) in corpus::load("responses").iter().enumerate() {
        let first = u8::from(case.client_bytes().starts_with(b"HEAD"));
        write(
            "response_head",
            index,
            &[&[first], &case.app_bytes()[..]].concat(),
        );
    }
}

/// Writes what follows a head as a chunked body and as one of known length.
fn write_body(index: usize, case: &Case) {
    let bytes = case.client_bytes();
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
    let Some(body) = end
        .map(|end| &bytes[end + 4..])
        .filter(|body| !body.is_empty())
    else {
        return;
    };
    write("body", index * 2, &[b"\x02\x03", body].concat());
    write("body", index * 2 + 1, &[b"\x04\x03", body].concat());
}

fn write(target: &str, index: usize, bytes: &[u8]) {
    if bytes.len() > MAX_SEED {
        return;
    }
    let parts = [env!("CARGO_MANIFEST_DIR"), "..", "fuzz/corpus", target];
    let folder: PathBuf = parts.iter().collect();
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(format!("case-{index}")), bytes).unwrap();
}
