//! The signature of a webhook, as Standard Webhooks 1.0 has it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// What a secret begins with that is written as the libraries of Standard Webhooks write it.
const ENCODED: &str = "whsec_";

/// The secret cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("a secret that begins with {ENCODED} goes on in base64")]
pub(crate) struct KeyError;

/// Signs webhooks. Its secret is never shown.
#[derive(Clone)]
pub(crate) struct SigningKey(Hmac<Sha256>);

impl SigningKey {
    /// The key of a secret: its bytes as they are, or behind `whsec_` in base64.
    ///
    /// # Errors
    /// When what is behind `whsec_` is no base64.
    pub(crate) fn new(secret: &str) -> Result<Self, KeyError> {
        let bytes = match secret.strip_prefix(ENCODED) {
            Some(encoded) => STANDARD.decode(encoded).map_err(|_| KeyError)?,
            None => secret.as_bytes().to_vec(),
        };
        // A key of any length will do for HMAC.
        Hmac::new_from_slice(&bytes).map(Self).map_err(|_| KeyError)
    }

    /// The value of `webhook-signature`.
    pub(super) fn sign(&self, id: &str, timestamp: u64, body: &[u8]) -> String {
        let mut mac = self.0.clone();
        mac.update(format!("{id}.{timestamp}.").as_bytes());
        mac.update(body);
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification and its libraries.
    #[test]
    fn the_example_of_standard_webhooks_has_its_signature() {
        let key = SigningKey::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signature = key.sign(
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            br#"{"test": 2432232314}"#,
        );
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_secret_without_a_prefix_counts_as_it_is_written() {
        let plain = SigningKey::new("Jefe").unwrap();
        let encoded = SigningKey::new(&format!("whsec_{}", STANDARD.encode("Jefe"))).unwrap();
        assert_eq!(plain.sign("a", 1, b"b"), encoded.sign("a", 1, b"b"));
        // HMAC-SHA-256 worked out by hand: hash(outer pad, hash(inner pad, text)).
        use sha2::Digest;
        let pad = |with: u8| {
            let mut block = [with; 64];
            for (byte, key) in block.iter_mut().zip(b"Jefe") {
                *byte ^= key;
            }
            block
        };
        let inner = Sha256::new()
            .chain_update(pad(0x36))
            .chain_update(b"a.1.b")
            .finalize();
        let outer = Sha256::new()
            .chain_update(pad(0x5c))
            .chain_update(inner)
            .finalize();
        assert_eq!(
            plain.sign("a", 1, b"b"),
            format!("v1,{}", STANDARD.encode(outer))
        );
    }

    #[test]
    fn a_broken_secret_is_refused() {
        assert!(SigningKey::new("whsec_*").is_err());
    }
}
