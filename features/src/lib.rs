//! Holds no code: `Cargo.toml` enables features of third-party crates, so that `cargo build -p`
//! builds them with the same features as the whole workspace. `scripts/features.py` writes it.
