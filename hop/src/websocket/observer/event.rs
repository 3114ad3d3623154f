//! What the observer reports.

/// Which way the observed bytes travel; it decides whether frames have to be masked (RFC 6455
/// section 5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the server: every frame is masked.
    FromClient,
    /// From the server to the client: no frame is masked.
    FromServer,
}

/// Something that was completed by the observed bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameEvent {
    /// The last frame of a data message has passed.
    Message(Message),
    /// A whole control frame has passed.
    Control(Control),
    /// The bytes are not WebSocket frames that can be followed; nothing more is reported. The
    /// bytes still pass, and the endpoints decide what to do about them.
    Lost(LostReason),
}

/// One complete data message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message {
    /// Its number in this direction, from 1 (rule 16).
    pub number: u64,
    /// The payload bytes of all its frames as they are on the wire, that is, compressed where an
    /// extension compresses them.
    pub payload_bytes: u64,
    /// Whether it is a text message; otherwise it is binary.
    pub text: bool,
}

/// One complete control frame (RFC 6455 section 5.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// A ping.
    Ping,
    /// A pong.
    Pong,
    /// A close with its code: 1005 when the frame is empty, `None` when its payload is a single
    /// byte, which is no code.
    Close(Option<u16>),
}

/// Why the observer can no longer follow a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LostReason {
    /// An opcode that RFC 6455 reserves; whether such a frame is data or control is unknown.
    #[error("a frame has a reserved opcode")]
    ReservedOpcode,
    /// A masked frame from the server or an unmasked one from the client (section 5.1).
    #[error("a frame is masked that must not be, or the reverse")]
    Masking,
    /// A length of 2^63 or more (section 5.2).
    #[error("a frame has a length of 2^63 bytes or more")]
    Length,
    /// A control frame that is fragmented or longer than 125 bytes (section 5.5).
    #[error("a control frame is fragmented or too long")]
    Control,
    /// A continuation without a message, or a new message inside another (section 5.4).
    #[error("the fragments of a message are out of order")]
    Fragmentation,
}

/// What the bytes of one call were, for the idle clock of the stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FrameActivity {
    /// Whether any of the bytes belonged to a data frame: they completed its header or were part of
    /// its payload. Ping, pong and close are not activity. Bytes of a stream that is lost count,
    /// because a stream that cannot be read must not be taken for an idle one.
    pub data: bool,
}
