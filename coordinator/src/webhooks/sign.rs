//! The signature of a webhook, by Standard Webhooks 1.0.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The prefix of a secret in the format of Standard Webhooks.
const PREFIX: &str = "whsec_";

/// The secret is malformed.
#[derive(Debug, thiserror::Error)]
#[error("after {PREFIX}, a secret must be base64")]
pub(crate) struct KeyError;

/// Signs webhooks. It has no `Debug`, so that its secret is not logged.
#[derive(Clone)]
pub(crate) struct SigningKey(Hmac<Sha256>);

impl SigningKey {
    /// Creates the key of a secret: its bytes, or base64 after `whsec_`.
    ///
    /// # Errors
    /// When the text after `whsec_` is not base64.
    pub(crate) fn new(secret: &str) -> Result<Self, KeyError> {
        let bytes = match secret.strip_prefix(PREFIX) {
            Some(encoded) => STANDARD.decode(encoded).map_err(|_| KeyError)?,
            None => secret.as_bytes().to_vec(),
        };
        // HMAC accepts a key of any length.
        Hmac::new_from_slice(&bytes).map(Self).map_err(|_| KeyError)
    }

    /// Returns the value of `webhook-signature`.
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

    /// The example in the specification and its libraries.
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
    fn a_secret_without_a_prefix_is_used_as_bytes() {
        let plain = SigningKey::new("Jefe").unwrap();
        let encoded = SigningKey::new(&format!("whsec_{}", STANDARD.encode("Jefe"))).unwrap();
        assert_eq!(plain.sign("a", 1, b"b"), encoded.sign("a", 1, b"b"));
        // HMAC-SHA-256 computed by hand: hash(outer pad, hash(inner pad, text)).
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
    fn a_malformed_secret_is_rejected() {
        assert!(SigningKey::new("whsec_*").is_err());
    }
}
