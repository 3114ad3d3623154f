//! The events that an observer reports.

/// A message or a frame that the observed bytes completed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameEvent {
    /// The last frame of a data message has passed.
    Message(Message),
    /// A whole control frame has passed.
    Control(Control),
    /// The bytes cannot be followed as WebSocket frames; nothing more is reported. They still pass,
    /// and both ends judge them themselves.
    Lost(LostReason),
}

/// One complete data message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message {
    /// The number in this direction, from 1 (docs/reference/request-id.md, rule 16).
    pub number: u64,
    /// The payload bytes of all frames as they are on the wire, so compressed if an extension
    /// compresses them.
    pub payload_bytes: u64,
    /// `true` for a text message, `false` for a binary one.
    pub text: bool,
}

/// One complete control frame (RFC 6455 section 5.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// A ping.
    Ping,
    /// A pong.
    Pong,
    /// A close with its code: 1005 if the frame is empty, `None` if its payload is a single byte,
    /// which is no code.
    Close(Option<u16>),
}

/// The reason for which the observer cannot follow a stream any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LostReason {
    /// An opcode that RFC 6455 reserves, for data or for control.
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

/// The kind of the bytes of one call, for the activity of the stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FrameActivity {
    /// `true` if any of the bytes belonged to a data frame: they completed its header or were part
    /// of its payload. Ping, pong and close are not activity. Bytes of a stream that cannot be
    /// followed count as data, so that it does not seem idle.
    pub data: bool,
}
