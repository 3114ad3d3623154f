//! The frame observer reports the same events however the bytes of a WebSocket are split.
#![no_main]

use app_proxy_hop::tunnel::Direction;
use app_proxy_hop::websocket::observer::{FrameEvent, FrameObserver, close_frame};
use libfuzzer_sys::fuzz_target;

fn observe<'b>(
    direction: Direction,
    pieces: impl Iterator<Item = &'b [u8]>,
) -> (FrameObserver, Vec<FrameEvent>, bool) {
    let mut observer = FrameObserver::new(direction);
    let mut events = Vec::new();
    let mut data = false;
    for piece in pieces {
        data |= observer.observe(piece, |event| events.push(event)).data;
    }
    (observer, events, data)
}

fuzz_target!(|input: &[u8]| {
    let Some((first, bytes)) = input.split_first() else {
        return;
    };
    let direction = match first & 1 {
        0 => Direction::FromServer,
        _ => Direction::FromClient,
    };
    let piece_bytes = usize::from(first >> 1).max(1);
    let (at_once, events, data) = observe(direction, std::iter::once(bytes));
    let (observer, events_of_pieces, data_of_pieces) =
        observe(direction, bytes.chunks(piece_bytes));
    assert_eq!(events_of_pieces, events);
    assert_eq!(data_of_pieces, data);
    let state = |observer: &FrameObserver| {
        (
            observer.at_frame_boundary(),
            observer.saw_close(),
            observer.close_code(),
            observer.lost(),
            observer.messages(),
            observer.data_bytes(),
            observer.pings(),
            observer.pongs(),
        )
    };
    assert_eq!(state(&observer), state(&at_once));

    if at_once.at_frame_boundary() {
        // A close frame can be inserted at a frame boundary.
        let mask = (direction == Direction::FromClient).then_some([1, 2, 3, 4]);
        let mut closed = at_once.clone();
        closed.observe(&close_frame(1001, "drain", mask), |_| {});
        assert_eq!(closed.close_code(), Some(1001));
        assert_eq!(closed.messages(), at_once.messages());
    }
});
