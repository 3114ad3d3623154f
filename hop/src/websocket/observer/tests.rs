//! Tests of the observer: examples by name, and properties over any frames and any split.

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

const MASK: [u8; 4] = [0x11, 0x22, 0x33, 0x44];

/// A frame as an endpoint would write it.
fn frame(direction: Direction, opcode: OpCode, is_final: bool, payload: &[u8]) -> Vec<u8> {
    let header = FrameHeader {
        is_final,
        opcode,
        mask: (direction == Direction::FromClient).then_some(MASK),
        ..FrameHeader::default()
    };
    write(&header, payload)
}

fn write(header: &FrameHeader, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    header.format(payload.len() as u64, &mut bytes).unwrap();
    let mask = header.mask.unwrap_or_default();
    bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(b, m)| b ^ m));
    bytes
}

fn text(payload: &[u8]) -> Vec<u8> {
    frame(
        Direction::FromServer,
        OpCode::Data(Data::Text),
        true,
        payload,
    )
}

fn events(observer: &mut FrameObserver, bytes: &[u8]) -> Vec<FrameEvent> {
    let mut events = Vec::new();
    observer.observe(bytes, |event| events.push(event));
    events
}

fn lost_by(direction: Direction, bytes: &[u8]) -> Option<LostReason> {
    let mut observer = FrameObserver::new(direction);
    observer.observe(bytes, |_| {});
    observer.lost()
}

#[test]
fn rule_16_messages_are_numbered_from_one() {
    let mut observer = FrameObserver::new(Direction::FromServer);
    let message = |number, payload_bytes| {
        FrameEvent::Message(Message {
            number,
            payload_bytes,
            text: true,
        })
    };
    let bytes = [text(b"one"), text(b""), text(&[b'x'; 70_000])].concat();
    assert_eq!(
        events(&mut observer, &bytes),
        [message(1, 3), message(2, 0), message(3, 70_000)]
    );
    assert_eq!(observer.messages(), 3);
    assert_eq!(observer.data_bytes(), 70_003);
    assert!(observer.at_frame_boundary());
}

#[test]
fn rule_16_fragments_belong_to_their_message_and_control_frames_do_not_count() {
    let way = Direction::FromClient;
    let bytes = [
        frame(way, OpCode::Data(Data::Binary), false, b"ab"),
        frame(way, OpCode::Control(ControlCode::Ping), true, b"?"),
        frame(way, OpCode::Data(Data::Continue), false, b""),
        frame(way, OpCode::Control(ControlCode::Pong), true, b""),
        frame(way, OpCode::Data(Data::Continue), true, b"cde"),
    ]
    .concat();
    let mut observer = FrameObserver::new(way);
    let message = Message {
        number: 1,
        payload_bytes: 5,
        text: false,
    };
    assert_eq!(
        events(&mut observer, &bytes),
        [
            FrameEvent::Control(Control::Ping),
            FrameEvent::Control(Control::Pong),
            FrameEvent::Message(message)
        ]
    );
    assert_eq!((observer.pings(), observer.pongs()), (1, 1));
}

#[test]
fn compressed_messages_and_other_extension_bits_are_followed() {
    let header = FrameHeader {
        opcode: OpCode::Data(Data::Text),
        rsv1: true,
        rsv2: true,
        rsv3: true,
        ..FrameHeader::default()
    };
    let mut observer = FrameObserver::new(Direction::FromServer);
    observer.observe(&write(&header, b"deflated"), |_| {});
    assert_eq!(observer.messages(), 1);
}

#[test]
fn lengths_that_are_not_minimal_are_followed() {
    let mut observer = FrameObserver::new(Direction::FromServer);
    let bytes = [0x82, 127, 0, 0, 0, 0, 0, 0, 0, 1, b'x', 0x82, 126, 0, 0];
    assert_eq!(events(&mut observer, &bytes).len(), 2);
}

#[test]
fn the_longest_frame_is_skipped_and_a_longer_one_is_lost() {
    let mut header = vec![0x82, 127, 0x7f];
    header.extend([0xff; 7]);
    let mut observer = FrameObserver::new(Direction::FromServer);
    assert!(observer.observe(&header, |_| {}).data);
    assert!(observer.observe(&[0; 100_000], |_| {}).data);
    assert!(!observer.at_frame_boundary());
    assert_eq!(observer.lost(), None);

    header[2] = 0x80;
    let lost = lost_by(Direction::FromServer, &header);
    assert_eq!(lost, Some(LostReason::Length));
}

#[test]
fn fragments_are_activity_and_ping_pong_and_close_are_not() {
    let way = Direction::FromServer;
    let mut observer = FrameObserver::new(way);
    let mut data = |opcode, is_final, payload: &[u8]| {
        let bytes = frame(way, opcode, is_final, payload);
        observer.observe(&bytes, |_| {}).data
    };
    assert!(!data(OpCode::Control(ControlCode::Ping), true, b"x"));
    assert!(data(OpCode::Data(Data::Text), false, b""));
    assert!(!data(OpCode::Control(ControlCode::Pong), true, b""));
    assert!(data(OpCode::Data(Data::Continue), true, b"y"));
    assert!(!data(
        OpCode::Control(ControlCode::Close),
        true,
        b"\x03\xe8"
    ));
}

#[test]
fn a_close_code_is_unmasked() {
    let way = Direction::FromClient;
    let mut observer = FrameObserver::new(way);
    let close = OpCode::Control(ControlCode::Close);
    let bytes = frame(way, close, true, b"\x0f\xa1kernel restarted");
    assert_eq!(
        events(&mut observer, &bytes),
        [FrameEvent::Control(Control::Close(Some(4001)))]
    );
    assert!(observer.saw_close());
    assert_eq!(observer.close_code(), Some(4001));
}

#[test]
fn an_empty_close_is_1005_and_one_byte_is_no_code() {
    let way = Direction::FromServer;
    for (payload, code) in [(&b""[..], Some(1005)), (b"x", None)] {
        let mut observer = FrameObserver::new(way);
        let close = OpCode::Control(ControlCode::Close);
        assert_eq!(observer.close_code(), None);
        observer.observe(&frame(way, close, true, payload), |_| {});
        assert!(observer.saw_close());
        assert_eq!(observer.close_code(), code);
    }
}

#[test]
fn nothing_counts_after_a_close() {
    let mut observer = FrameObserver::new(Direction::FromServer);
    let bytes = [
        close_frame(1000, "", None),
        text(b"late"),
        close_frame(1001, "", None),
    ]
    .concat();
    assert_eq!(events(&mut observer, &bytes).len(), 1);
    assert_eq!(observer.messages(), 0);
    assert_eq!(observer.close_code(), Some(1000));
    assert!(!observer.at_frame_boundary());
    assert!(!observer.observe(&text(b"later"), |_| {}).data);
}

#[test]
fn an_invalid_frame_ends_the_observation_with_its_reason() {
    use Direction::{FromClient, FromServer};
    let ping = OpCode::Control(ControlCode::Ping);
    let next = OpCode::Data(Data::Continue);
    let first = frame(FromServer, OpCode::Data(Data::Text), false, b"");
    for (direction, bytes, reason) in [
        (FromServer, vec![0x83, 0], LostReason::ReservedOpcode),
        (FromServer, vec![0x8b, 0], LostReason::ReservedOpcode),
        (FromClient, text(b"x"), LostReason::Masking),
        (
            FromServer,
            frame(FromClient, ping, true, b""),
            LostReason::Masking,
        ),
        (
            FromServer,
            frame(FromServer, ping, false, b""),
            LostReason::Control,
        ),
        (
            FromServer,
            frame(FromServer, ping, true, &[0; 126]),
            LostReason::Control,
        ),
        (
            FromServer,
            frame(FromServer, next, true, b""),
            LostReason::Fragmentation,
        ),
        (
            FromServer,
            [first, text(b"x")].concat(),
            LostReason::Fragmentation,
        ),
    ] {
        assert_eq!(lost_by(direction, &bytes), Some(reason), "{bytes:?}");
    }
}

#[test]
fn a_stream_that_cannot_be_followed_reports_once_and_stays_active() {
    let mut observer = FrameObserver::new(Direction::FromServer);
    let reason = LostReason::ReservedOpcode;
    assert_eq!(
        events(&mut observer, &[0x83, 0, 0x81, 0]),
        [FrameEvent::Lost(reason)]
    );
    assert_eq!(events(&mut observer, &text(b"x")), []);
    assert!(observer.observe(b"?", |_| {}).data);
    assert!(!observer.at_frame_boundary());
    assert_eq!(observer.messages(), 0);
}

#[test]
fn the_boundary_is_only_between_frames() {
    let mut observer = FrameObserver::new(Direction::FromServer);
    for byte in text(b"abc") {
        assert!(!observer.observe(&[], |_| {}).data);
        observer.observe(&[byte], |_| {});
        let whole = observer.messages() == 1;
        assert_eq!(observer.at_frame_boundary(), whole);
    }
}

#[test]
fn an_observer_is_small() {
    assert!(
        size_of::<FrameObserver>() <= 128,
        "{}",
        size_of::<FrameObserver>()
    );
}

#[test]
fn the_reason_of_a_close_frame_is_cut_to_fit() {
    let bytes = close_frame(1001, &"é".repeat(100), None);
    assert_eq!(bytes.len(), 2 + 2 + 122);
    assert_eq!(bytes[1], 124);
    std::str::from_utf8(&bytes[4..]).unwrap();
}

#[test]
fn a_code_that_must_not_be_sent_gives_an_empty_close() {
    for code in [0, 999, 1005, 1006, 1015, 2000, 5000] {
        assert_eq!(close_frame(code, "why", None), [0x88, 0]);
    }
}

/// One message as fragments, and the control frames between them.
#[derive(Debug, Clone)]
struct Spoken {
    text: bool,
    rsv1: bool,
    fragments: Vec<Vec<u8>>,
    controls: Vec<Option<bool>>,
}

fn spoken() -> impl Strategy<Value = Spoken> {
    let payload = prop_oneof![
        4 => prop::collection::vec(any::<u8>(), 0..20),
        1 => prop::collection::vec(any::<u8>(), 120..300),
        1 => Just(vec![0x81; 66_000]),
    ];
    (
        any::<bool>(),
        any::<bool>(),
        prop::collection::vec(payload, 1..4),
        prop::collection::vec(any::<Option<bool>>(), 4),
    )
        .prop_map(|(text, rsv1, fragments, controls)| Spoken {
            text,
            rsv1,
            fragments,
            controls,
        })
}

/// The bytes of a conversation and the events that they are.
fn conversation(
    direction: Direction,
    spoken: &[Spoken],
    close: Option<&[u8]>,
) -> (Vec<u8>, Vec<FrameEvent>) {
    let (mut bytes, mut expected) = (Vec::new(), Vec::new());
    for (index, said) in spoken.iter().enumerate() {
        for (place, payload) in said.fragments.iter().enumerate() {
            let opcode = match (place, said.text) {
                (0, true) => Data::Text,
                (0, false) => Data::Binary,
                _ => Data::Continue,
            };
            let header = FrameHeader {
                is_final: place + 1 == said.fragments.len(),
                rsv1: said.rsv1 && place == 0,
                opcode: OpCode::Data(opcode),
                mask: (direction == Direction::FromClient).then_some(MASK),
                ..FrameHeader::default()
            };
            bytes.extend(write(&header, payload));
            if header.is_final {
                expected.push(FrameEvent::Message(Message {
                    number: index as u64 + 1,
                    payload_bytes: said.fragments.iter().map(|f| f.len() as u64).sum(),
                    text: said.text,
                }));
            }
            if let Some(ping) = said.controls[place] {
                let (opcode, control) = match ping {
                    true => (ControlCode::Ping, Control::Ping),
                    false => (ControlCode::Pong, Control::Pong),
                };
                bytes.extend(frame(direction, OpCode::Control(opcode), true, b"beat"));
                expected.push(FrameEvent::Control(control));
            }
        }
    }
    if let Some(payload) = close {
        let opcode = OpCode::Control(ControlCode::Close);
        bytes.extend(frame(direction, opcode, true, payload));
        let code = match payload {
            [] => Some(1005),
            [_] => None,
            [high, low, ..] => Some(u16::from_be_bytes([*high, *low])),
        };
        expected.push(FrameEvent::Control(Control::Close(code)));
    }
    (bytes, expected)
}

/// The bytes in the pieces that `cuts` make of them.
fn pieces<'b>(bytes: &'b [u8], cuts: &[Index]) -> Vec<&'b [u8]> {
    let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    places.extend([0, bytes.len()]);
    places.sort_unstable();
    places
        .windows(2)
        .map(|pair| &bytes[pair[0]..pair[1]])
        .collect()
}

fn directions() -> impl Strategy<Value = Direction> {
    prop_oneof![Just(Direction::FromClient), Just(Direction::FromServer)]
}

proptest! {
    #[test]
    fn any_split_of_any_frames_gives_the_same_messages_and_close_code(
        direction in directions(),
        spoken in prop::collection::vec(spoken(), 0..5),
        close in prop::option::of(prop::collection::vec(any::<u8>(), 0..20)),
        cuts in prop::collection::vec(any::<Index>(), 0..40),
    ) {
        let (bytes, expected) = conversation(direction, &spoken, close.as_deref());
        let mut observer = FrameObserver::new(direction);
        let mut seen = Vec::new();
        for piece in pieces(&bytes, &cuts) {
            observer.observe(piece, |event| seen.push(event));
        }
        prop_assert_eq!(seen, expected);
        prop_assert_eq!(observer.messages(), spoken.len() as u64);
        prop_assert_eq!(observer.saw_close(), close.is_some());
        prop_assert_eq!(observer.at_frame_boundary(), close.is_none());
    }

    #[test]
    fn any_split_of_any_bytes_ends_in_the_same_state(
        direction in directions(),
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        cuts in prop::collection::vec(any::<Index>(), 0..40),
    ) {
        let mut at_once = FrameObserver::new(direction);
        let expected = events(&mut at_once, &bytes);
        let mut observer = FrameObserver::new(direction);
        let mut seen = Vec::new();
        for piece in pieces(&bytes, &cuts) {
            observer.observe(piece, |event| seen.push(event));
        }
        prop_assert_eq!(seen, expected);
        prop_assert_eq!(observer.at_frame_boundary(), at_once.at_frame_boundary());
        prop_assert_eq!(observer.close_code(), at_once.close_code());
        prop_assert_eq!(observer.lost(), at_once.lost());
        prop_assert_eq!(observer.data_bytes(), at_once.data_bytes());
    }

    #[test]
    fn a_close_frame_is_read_back_by_an_independent_parser(
        code in prop_oneof![1000_u16..=1003, 1007_u16..=1013, 3000_u16..5000],
        reason in "\\PC{0,60}",
        mask in any::<Option<[u8; 4]>>(),
    ) {
        let bytes = close_frame(code, &reason, mask);
        let mut cursor = Cursor::new(bytes.as_slice());
        let (header, length) = FrameHeader::parse(&mut cursor).unwrap().unwrap();
        prop_assert_eq!(header.opcode, OpCode::Control(ControlCode::Close));
        prop_assert!(header.is_final);
        prop_assert_eq!(header.mask, mask);
        prop_assert!(length <= MAX_CONTROL_PAYLOAD_BYTES);
        let payload: Vec<u8> = bytes[cursor.position() as usize..]
            .iter()
            .zip(mask.unwrap_or_default().iter().cycle())
            .map(|(byte, mask)| byte ^ mask)
            .collect();
        prop_assert_eq!(payload.len() as u64, length);
        prop_assert_eq!(&payload[..2], code.to_be_bytes());
        prop_assert!(reason.starts_with(std::str::from_utf8(&payload[2..]).unwrap()));
    }
}
