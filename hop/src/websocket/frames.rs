//! WebSocket frames as the protocol of a tunnel.

use log::{debug, info};
use rand::RngExt;

use crate::exchange::Exchange;
use crate::streams::CloseReason;
use crate::tunnel::{CloseCause, Direction, Protocol};
use crate::websocket::observer::{Control, FrameEvent, FrameObserver, close_frame};

impl Protocol for FrameObserver {
    fn observe(&mut self, bytes: &[u8], exchange: &Exchange) -> bool {
        let from = self.direction();
        self.observe(bytes, |event| log_event(event, from, exchange))
            .data
    }

    fn has_closed(&self) -> bool {
        self.saw_close()
    }

    fn close_code(&self) -> Option<u16> {
        self.close_code()
    }

    fn messages(&self) -> u64 {
        self.messages()
    }

    fn accepts_close(&self) -> bool {
        self.at_frame_boundary()
    }

    fn close_message(&self, cause: CloseCause) -> Vec<u8> {
        let mask = match self.direction() {
            Direction::FromClient => Some(rand::rng().random()),
            Direction::FromServer => None,
        };
        let (code, text) = status(cause);
        close_frame(code, text, mask)
    }

    fn code_of(cause: CloseCause) -> Option<u16> {
        Some(status(cause).0)
    }
}

/// Returns the code of a close frame (RFC 6455, section 7.4.1: 1001 is going away, 1008 a violated
/// policy) and its text.
const fn status(cause: CloseCause) -> (u16, &'static str) {
    match cause {
        CloseCause::Draining => (1001, "the proxy is shutting down"),
        CloseCause::Idle => (1001, "idle for too long"),
        CloseCause::Requested(CloseReason::SessionDeleted) => (1008, "the session was deleted"),
        CloseCause::Requested(CloseReason::AppDeleted) => (1001, "the application was deleted"),
        CloseCause::Requested(CloseReason::WorkerDraining) => (1001, "the worker is shutting down"),
    }
}

fn log_event(event: FrameEvent, from: Direction, exchange: &Exchange) {
    match event {
        FrameEvent::Message(message) if exchange.hop().websocket.message_ids => {
            exchange.record_message(from, message.number, message.payload_bytes);
        }
        FrameEvent::Lost(reason) => {
            info!(
                "request_id={} cannot observe the WebSocket further: {reason}",
                exchange.id()
            );
        }
        FrameEvent::Control(Control::Close(code)) => {
            debug!("request_id={} close frame, code {code:?}", exchange.id());
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deleted_session_violates_a_policy_and_the_others_are_going_away() {
        let code = |reason| status(CloseCause::Requested(reason)).0;
        assert_eq!(code(CloseReason::SessionDeleted), 1008);
        assert_eq!(code(CloseReason::AppDeleted), 1001);
        assert_eq!(code(CloseReason::WorkerDraining), 1001);
    }
}
