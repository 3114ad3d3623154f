//! The session cookie: an opaque identifier with a MAC (`request_filter`), and its removal from the
//! `Cookie` header.
//!
//! With the MAC, each coordinator that has the secret recognises sessions of the others without a
//! common table, and clients cannot choose identifiers.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

pub(crate) use header::{Removed, session_values, without_cookie};
pub(crate) use id::SessionId;

mod header;
mod id;

/// Length of the truncated MAC: 128 bits cannot be guessed online.
const MAC_BYTES: usize = 16;

/// A MAC as text: base64url without padding.
pub(crate) type MacText = [u8; SessionId::LENGTH];

/// Domain separator: keeps the MAC from being valid for other uses of the secret.
const CONTEXT: &[u8] = b"app-proxy session v1\0";

/// Domain separator of [`SessionKey::fleet_number`].
const FLEET_CONTEXT: &[u8] = b"app-proxy fleet v1\0";

/// The app and the user that a session belongs to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owner<'o> {
    /// The name of the app.
    pub(crate) app: &'o str,
    /// The user, if an access policy has established one.
    pub(crate) user: Option<&'o str>,
}

impl<'o> From<&'o str> for Owner<'o> {
    /// The owner of a session without a user.
    fn from(app: &'o str) -> Self {
        Self { app, user: None }
    }
}

/// The secret is shorter than [`SessionKey::MIN_SECRET_BYTES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the session secret has {length} bytes; at least {min} are needed",
    min = SessionKey::MIN_SECRET_BYTES
)]
pub(crate) struct SecretTooShort {
    /// Length of the secret in bytes.
    pub(crate) length: usize,
}

/// The key that signs session values, the same in every coordinator of a fleet.
#[derive(Clone)]
pub(crate) struct SessionKey {
    /// Initialised with the key once; each signature clones it and need not hash the key again.
    mac: Hmac<Sha256>,
}

impl SessionKey {
    /// Minimum length of the secret in bytes: the output length of the hash (RFC 2104 section 3).
    pub(crate) const MIN_SECRET_BYTES: usize = 32;

    /// Creates a key from a secret of at least [`Self::MIN_SECRET_BYTES`] random bytes.
    ///
    /// # Errors
    /// [`SecretTooShort`].
    pub(crate) fn new(secret: &[u8]) -> Result<Self, SecretTooShort> {
        let length = secret.len();
        if length < Self::MIN_SECRET_BYTES {
            return Err(SecretTooShort { length });
        }
        // HMAC accepts keys of any length, so this error does not occur.
        let mac = Hmac::new_from_slice(secret).map_err(|_| SecretTooShort { length })?;
        Ok(Self { mac })
    }

    /// Issues a session: a new identifier and its MAC.
    pub(crate) fn issue<'o>(&self, owner: impl Into<Owner<'o>>) -> (SessionId, MacText) {
        let id = SessionId::random();
        (id, self.sign(owner, &id))
    }

    /// Computes the MAC of session `id`.
    pub(crate) fn sign<'o>(&self, owner: impl Into<Owner<'o>>, id: &SessionId) -> MacText {
        let mac = self.mac_of(owner.into(), id).finalize().into_bytes();
        let mut text = MacText::default();
        let written =
            URL_SAFE_NO_PAD.encode_slice(mac.get(..MAC_BYTES).unwrap_or_default(), &mut text);
        debug_assert_eq!(written, Ok(text.len()));
        text
    }

    /// Returns a number that coordinators with this key have in common. It reveals nothing of the
    /// key.
    pub(crate) fn fleet_number(&self) -> u32 {
        let mut mac = self.mac.clone();
        mac.update(FLEET_CONTEXT);
        let mac = mac.finalize().into_bytes();
        let first = mac.first_chunk().copied().unwrap_or_default();
        u32::from_be_bytes(first)
    }

    /// Splits a session value into identifier and MAC, without verifying either.
    pub(crate) fn claim(value: &[u8]) -> Option<(SessionId, MacText)> {
        let (id, mac) = value.split_at_checked(SessionId::LENGTH)?;
        let mac = MacText::try_from(mac.strip_prefix(b".")?).ok()?;
        Some((SessionId::claimed(id.try_into().ok()?), mac))
    }

    /// Returns the session of `value`, or `None` if this key did not sign it for its `owner`.
    ///
    /// A value of another length is rejected first. The MAC is compared in constant time.
    pub(crate) fn verify<'o>(
        &self,
        owner: impl Into<Owner<'o>>,
        value: &[u8],
    ) -> Option<SessionId> {
        let (claimed, mac) = Self::claim(value)?;
        let id = SessionId::parse(claimed.as_str().as_bytes()).ok()?;
        let mut tag = [0; MAC_BYTES];
        let decoded = URL_SAFE_NO_PAD.decode_slice_unchecked(mac, &mut tag);
        if decoded != Ok(MAC_BYTES) {
            return None;
        }
        let mac = self.mac_of(owner.into(), &id);
        mac.verify_truncated_left(&tag).ok()?;
        Some(id)
    }

    /// The MAC of a session without a user has no field for it, so that the values of earlier
    /// versions stay valid. Neither an app's name nor a user's has a NUL.
    fn mac_of(&self, owner: Owner<'_>, id: &SessionId) -> Hmac<Sha256> {
        let mut mac = self.mac.clone();
        mac.update(CONTEXT);
        mac.update(owner.app.as_bytes());
        mac.update(b"\0");
        mac.update(id.as_str().as_bytes());
        if let Some(user) = owner.user {
            mac.update(b"\0");
            mac.update(user.as_bytes());
        }
        mac
    }
}

/// Builds the session value `<id>.<mac>`: 45 characters that need no quoting in a cookie (RFC 6265
/// section 4.1.1).
pub(crate) fn session_value(id: &SessionId, mac: &MacText) -> String {
    let mut value = String::with_capacity(SessionId::LENGTH + 1 + mac.len());
    value.push_str(id.as_str());
    value.push('.');
    // Base64url is ASCII.
    value.push_str(std::str::from_utf8(mac).unwrap_or_default());
    value
}

impl fmt::Debug for SessionKey {
    /// Omits the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionKey(..)")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
mod tests;
