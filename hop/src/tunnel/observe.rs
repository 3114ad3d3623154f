//! The observers of a tunnel: one for the protocol in each direction, and one for the tier.

use crate::exchange::Exchange;
use crate::tunnel::close::CloseCause;
use crate::tunnel::direction::Direction;

/// Follows the data of a tunnel for a tier.
pub trait TunnelObserver: Send + Sync + 'static {
    /// Records data that passed, with its framing. Keep-alives are not reported.
    fn data(&mut self, from: Direction, bytes: u64);
}

/// Ignores the data of a tunnel.
pub struct Unobserved;

impl TunnelObserver for Unobserved {
    fn data(&mut self, _from: Direction, _bytes: u64) {}
}

/// Follows the protocol in one direction of a tunnel. It sees the bytes by shared reference, so it
/// cannot change them. Plain TCP is the protocol whose bytes are all data, that has no close
/// message, and of which nothing is counted.
pub(crate) trait Protocol: Send + 'static {
    /// Observes bytes that passed, and logs the messages that they completed. Returns `true` if
    /// some of them are data, `false` if all are keep-alives.
    fn observe(&mut self, bytes: &[u8], exchange: &Exchange) -> bool;

    /// Returns whether a close message of the sender has passed.
    fn has_closed(&self) -> bool;

    /// Returns the code of the sender's close message.
    fn close_code(&self) -> Option<u16>;

    /// Returns how many messages have passed.
    fn messages(&self) -> u64;

    /// Returns whether a close message may be inserted after the bytes observed so far.
    fn accepts_close(&self) -> bool;

    /// Returns the close message that the tier inserts in this direction.
    fn close_message(&self, cause: CloseCause) -> Vec<u8>;

    /// Returns the code of the tier's close message.
    fn code_of(cause: CloseCause) -> Option<u16>;
}

/// Reports the bytes that pass in a tunnel to its observers.
pub(super) struct Reporter<'t, O> {
    pub(super) exchange: &'t mut Exchange,
    pub(super) observer: &'t mut O,
}

impl<O: TunnelObserver> Reporter<'_, O> {
    /// Reports bytes of the sender.
    pub(super) fn received<P: Protocol>(
        &mut self,
        from: Direction,
        protocol: &mut P,
        bytes: &[u8],
    ) {
        if protocol.observe(bytes, self.exchange) {
            self.observer.data(from, bytes.len() as u64);
        }
    }

    /// Reports bytes for the receiver.
    #[inline]
    pub(super) fn passed_on(&mut self, from: Direction, bytes: &[u8]) {
        self.exchange.observe_data(from, bytes);
    }
}
