//! Peers as futures: `Async<Peer>` has `recv`, `next` and `send`.

use ginnel_object::Message;
use ginnel_object::aio::{Inlet, Outlet};
use ginnel_object::error::{SendError, TryRecvError};
use ginnel_queue::lane::LaneError;

use super::{Peer, Unsent};

/// A message that is being sent, part by part.
#[derive(Debug, Default)]
pub struct Letter {
    /// Its bytes, once it was encoded.
    body: Option<Vec<u8>>,
    at: usize,
}

impl<S, R: Message> Inlet for Peer<S, R> {
    type Item = R;

    fn try_recv(&mut self) -> Result<R, TryRecvError> {
        Self::try_recv(self)
    }
}

impl<S: Message, R> Outlet for Peer<S, R> {
    type Item = S;
    type Letter = Letter;

    fn advance(&mut self, value: &mut Option<S>, letter: &mut Letter) -> Option<Result<(), SendError<S>>> {
        let Letter { body, at } = letter;
        let body = match body {
            Some(body) => body,
            None => match value.as_ref()?.with_bytes(<[u8]>::to_vec) {
                Ok(bytes) => body.insert(bytes),
                Err(why) => return Some(Err(SendError::Failed(value.take()?, why))),
            },
        };
        let sent = self.link.send_some(body, at);
        if sent == Err(LaneError::WouldBlock) {
            return None;
        }
        let value = value.take()?;
        Some(match sent {
            Ok(()) => Ok(()),
            Err(LaneError::Closed) => Err(SendError::Closed(value)),
            Err(why) => Err(SendError::Failed(value, self.unsent(Unsent::Lane(why)))),
        })
    }
}
