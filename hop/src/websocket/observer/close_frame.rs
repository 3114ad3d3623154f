//! The only frame that a tier writes itself: the close frame.

use tungstenite::protocol::frame::coding::CloseCode;

/// Returns a close frame, to be written at a frame boundary.
///
/// A frame to a server needs a `mask`. A `reason` is cut at a character boundary to the 123 bytes
/// that fit into a control frame. A `code` that must not be sent (RFC 6455 section 7.4: below 1000,
/// 1005, 1006, 1015, unassigned) gives an empty close frame.
pub fn close_frame(code: u16, reason: &str, mask: Option<[u8; 4]>) -> Vec<u8> {
    const FIN_AND_CLOSE: u8 = 0x88;
    const MASKED: u8 = 0x80;
    const MAX_REASON_BYTES: usize = 123;

    let mut payload = Vec::with_capacity(2 + reason.len().min(MAX_REASON_BYTES));
    if CloseCode::from(code).is_allowed() {
        let reason = reason
            .get(..reason.floor_char_boundary(MAX_REASON_BYTES))
            .unwrap_or_default();
        payload.extend_from_slice(&code.to_be_bytes());
        payload.extend_from_slice(reason.as_bytes());
    }
    // At most 125, so the length fits into one byte.
    let length = payload.len() as u8;
    let mut frame = Vec::with_capacity(6 + payload.len());
    match mask {
        None => frame.extend_from_slice(&[FIN_AND_CLOSE, length]),
        Some(mask) => {
            frame.extend_from_slice(&[FIN_AND_CLOSE, MASKED | length]);
            frame.extend_from_slice(&mask);
            for (byte, mask) in payload.iter_mut().zip(mask.iter().cycle()) {
                *byte ^= mask;
            }
        }
    }
    frame.extend_from_slice(&payload);
    frame
}
