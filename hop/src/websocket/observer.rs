//! An observer of the frames in one direction of a WebSocket (RFC 6455), fed by the tunnel after
//! the 101.
//!
//! It reads frame headers and skips payloads, so that both tiers can number messages
//! (docs/reference/request-id.md, rule 16), log how a stream closed, distinguish activity from
//! keep-alives, and know where a close frame may be inserted. It sees bytes by shared reference and
//! cannot change them. It allocates nothing: besides counters it keeps at most one header (14
//! bytes) and a close code.

use std::io::Cursor;

use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{CloseCode, Control as ControlCode, Data, OpCode};

pub use close_frame::close_frame;
pub use event::{Control, FrameActivity, FrameEvent, LostReason, Message};

use crate::tunnel::Direction;

mod close_frame;
mod event;

/// The longest frame header: 2 bytes, 8 of extended length, 4 of mask (RFC 6455 section 5.2).
const MAX_HEADER_BYTES: usize = 14;

/// The longest payload of a control frame (RFC 6455 section 5.5).
const MAX_CONTROL_PAYLOAD_BYTES: u64 = 125;

/// Follows the frames in one direction.
#[derive(Debug, Clone)]
pub struct FrameObserver {
    direction: Direction,
    state: State,
    header: [u8; MAX_HEADER_BYTES],
    header_held: usize,
    fragments: Option<Fragments>,
    messages: u64,
    data_bytes: u64,
    pings: u64,
    pongs: u64,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// The next byte belongs to a header; `header_held` bytes of it have passed.
    Header,
    /// `left` bytes of the payload of `frame` are still to come; never zero.
    Payload {
        frame: Frame,
        left: u64,
    },
    /// A close frame has passed. Bytes after it are ignored (section 5.5.1).
    Closed(Option<u16>),
    Lost(LostReason),
}

/// The part of a frame's header that is needed while its payload passes.
#[derive(Debug, Clone, Copy)]
enum Frame {
    Data { is_final: bool },
    Ping,
    Pong,
    Close(ClosePayload),
}

/// The message whose fragments are passing.
#[derive(Debug, Clone, Copy)]
struct Fragments {
    text: bool,
    payload_bytes: u64,
}

/// The first two payload bytes of a close frame, which are its code.
#[derive(Debug, Clone, Copy)]
struct ClosePayload {
    mask: [u8; 4],
    bytes: [u8; 2],
    held: usize,
}

/// A frame whose header has passed.
struct Begun<'b> {
    frame: Frame,
    /// The length of its payload.
    length: u64,
    /// The bytes behind its header.
    rest: &'b [u8],
}

impl FrameObserver {
    /// An observer at the first byte after the handshake.
    pub fn new(direction: Direction) -> Self {
        Self {
            direction,
            state: State::Header,
            header: [0; MAX_HEADER_BYTES],
            header_held: 0,
            fragments: None,
            messages: 0,
            data_bytes: 0,
            pings: 0,
            pongs: 0,
        }
    }

    /// Returns the direction of the observed bytes.
    pub(crate) const fn direction(&self) -> Direction {
        self.direction
    }

    /// Observes `bytes`, exactly as they passed, and calls `on` for each message or frame that they
    /// completed, in order.
    ///
    /// The cost is that of the headers within `bytes`; payloads are skipped, whatever their length.
    pub fn observe(&mut self, bytes: &[u8], mut on: impl FnMut(FrameEvent)) -> FrameActivity {
        let mut activity = FrameActivity::default();
        let mut rest = bytes;
        while !rest.is_empty() {
            rest = match self.state {
                State::Header => match self.read_header(rest) {
                    Ok(Some(begun)) => {
                        activity.data |= matches!(begun.frame, Frame::Data { .. });
                        self.continue_frame(begun.frame, begun.length, &mut on);
                        begun.rest
                    }
                    Ok(None) => break,
                    Err(reason) => {
                        self.state = State::Lost(reason);
                        activity.data = true;
                        on(FrameEvent::Lost(reason));
                        break;
                    }
                },
                State::Payload { mut frame, left } => {
                    let passed = left.min(rest.len() as u64);
                    // `passed` is at most the length of a slice and so fits.
                    let (payload, after) = rest.split_at(passed as usize);
                    activity.data |= self.pass_payload(&mut frame, payload);
                    self.continue_frame(frame, left - passed, &mut on);
                    after
                }
                State::Closed(_) => break,
                State::Lost(_) => {
                    activity.data = true;
                    break;
                }
            };
        }
        activity
    }

    /// Returns the number of complete data messages so far.
    pub fn messages(&self) -> u64 {
        self.messages
    }

    /// Returns the payload bytes of data frames so far, unfinished messages included.
    pub fn data_bytes(&self) -> u64 {
        self.data_bytes
    }

    /// Returns the number of complete ping frames so far.
    pub fn pings(&self) -> u64 {
        self.pings
    }

    /// Returns the number of complete pong frames so far.
    pub fn pongs(&self) -> u64 {
        self.pongs
    }

    /// Returns the code of the close frame that has passed: 1005 if it was empty; `None` before,
    /// and if its payload was a single byte.
    pub fn close_code(&self) -> Option<u16> {
        match self.state {
            State::Closed(code) => code,
            _ => None,
        }
    }

    /// Returns whether a whole close frame has passed. Bytes after it are neither counted nor
    /// activity.
    pub fn saw_close(&self) -> bool {
        matches!(self.state, State::Closed(_))
    }

    /// Returns the reason for which this direction cannot be followed any more.
    pub fn lost(&self) -> Option<LostReason> {
        match self.state {
            State::Lost(reason) => Some(reason),
            _ => None,
        }
    }

    /// Returns whether a control frame may be inserted after the bytes observed so far: it would
    /// not tear a frame, and no close frame has passed. Between the fragments of a message it may
    /// (section 5.4).
    pub fn at_frame_boundary(&self) -> bool {
        matches!(self.state, State::Header) && self.header_held == 0
    }

    /// Reads a header that begins in the held bytes or in `bytes`, and returns its frame. `None`:
    /// all of `bytes` are held, and the header is still incomplete.
    fn read_header<'b>(&mut self, bytes: &'b [u8]) -> Result<Option<Begun<'b>>, LostReason> {
        if self.header_held == 0 {
            // The header is nearly always complete, and is not copied.
            let mut cursor = Cursor::new(bytes);
            if let Some((header, length)) = parse(&mut cursor)? {
                let rest = after(bytes, cursor.position());
                return self.begin(&header, length, rest).map(Some);
            }
        }
        let held = self.header_held;
        let mut whole = held;
        for (slot, byte) in self.header.iter_mut().skip(held).zip(bytes) {
            *slot = *byte;
            whole += 1;
        }
        let mut cursor = Cursor::new(self.header.get(..whole).unwrap_or_default());
        let Some((header, length)) = parse(&mut cursor)? else {
            self.header_held = whole;
            return Ok(None);
        };
        // The bytes held before were not a complete header, so this one ends behind them.
        let rest = after(bytes, cursor.position().saturating_sub(held as u64));
        self.header_held = 0;
        self.begin(&header, length, rest).map(Some)
    }

    /// Checks a frame against the rules without which messages cannot be counted. RSV bits belong
    /// to extensions, and are ignored.
    fn begin<'b>(
        &mut self,
        header: &FrameHeader,
        length: u64,
        rest: &'b [u8],
    ) -> Result<Begun<'b>, LostReason> {
        if header.mask.is_some() != (self.direction == Direction::FromClient) {
            return Err(LostReason::Masking);
        }
        if length > i64::MAX as u64 {
            return Err(LostReason::Length);
        }
        let frame = match header.opcode {
            OpCode::Data(opcode) => {
                match (opcode, self.fragments) {
                    (Data::Continue, Some(_)) => {}
                    (Data::Text | Data::Binary, None) => {
                        let text = opcode == Data::Text;
                        self.fragments = Some(Fragments {
                            text,
                            payload_bytes: 0,
                        });
                    }
                    (Data::Reserved(_), _) => return Err(LostReason::ReservedOpcode),
                    _ => return Err(LostReason::Fragmentation),
                }
                Frame::Data {
                    is_final: header.is_final,
                }
            }
            OpCode::Control(_) if !header.is_final || length > MAX_CONTROL_PAYLOAD_BYTES => {
                return Err(LostReason::Control);
            }
            OpCode::Control(ControlCode::Ping) => Frame::Ping,
            OpCode::Control(ControlCode::Pong) => Frame::Pong,
            OpCode::Control(ControlCode::Close) => Frame::Close(ClosePayload {
                mask: header.mask.unwrap_or_default(),
                bytes: [0; 2],
                held: 0,
            }),
            OpCode::Control(ControlCode::Reserved(_)) => return Err(LostReason::ReservedOpcode),
        };
        Ok(Begun {
            frame,
            length,
            rest,
        })
    }

    /// Counts payload bytes, and returns whether they are data.
    fn pass_payload(&mut self, frame: &mut Frame, payload: &[u8]) -> bool {
        match frame {
            Frame::Data { .. } => {
                let passed = payload.len() as u64;
                self.data_bytes = self.data_bytes.saturating_add(passed);
                if let Some(message) = &mut self.fragments {
                    message.payload_bytes = message.payload_bytes.saturating_add(passed);
                }
                true
            }
            Frame::Close(close) => {
                close.read(payload);
                false
            }
            Frame::Ping | Frame::Pong => false,
        }
    }

    /// Continues with the `left` bytes of the payload, or ends the frame if there are none.
    fn continue_frame(&mut self, frame: Frame, left: u64, on: &mut impl FnMut(FrameEvent)) {
        if left > 0 {
            self.state = State::Payload { frame, left };
            return;
        }
        self.state = State::Header;
        match frame {
            Frame::Data { is_final: false } => {}
            Frame::Data { is_final: true } => {
                if let Some(message) = self.fragments.take() {
                    self.messages += 1;
                    on(FrameEvent::Message(Message {
                        number: self.messages,
                        payload_bytes: message.payload_bytes,
                        text: message.text,
                    }));
                }
            }
            Frame::Ping => {
                self.pings += 1;
                on(FrameEvent::Control(Control::Ping));
            }
            Frame::Pong => {
                self.pongs += 1;
                on(FrameEvent::Control(Control::Pong));
            }
            Frame::Close(close) => {
                self.state = State::Closed(close.code());
                on(FrameEvent::Control(Control::Close(close.code())));
            }
        }
    }
}

impl ClosePayload {
    fn read(&mut self, payload: &[u8]) {
        let places = self.bytes.iter_mut().zip(self.mask).skip(self.held);
        for ((slot, mask), byte) in places.zip(payload) {
            *slot = byte ^ mask;
            self.held += 1;
        }
    }

    fn code(self) -> Option<u16> {
        match self.held {
            0 => Some(CloseCode::Status.into()),
            1 => None,
            _ => Some(u16::from_be_bytes(self.bytes)),
        }
    }
}

/// Parses a header. Over bytes in memory the only error is a reserved opcode.
fn parse(cursor: &mut Cursor<&[u8]>) -> Result<Option<(FrameHeader, u64)>, LostReason> {
    FrameHeader::parse(cursor).map_err(|_| LostReason::ReservedOpcode)
}

/// Returns the bytes after the first `count` ones.
fn after(bytes: &[u8], count: u64) -> &[u8] {
    usize::try_from(count)
        .ok()
        .and_then(|count| bytes.get(count..))
        .unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
mod tests;
