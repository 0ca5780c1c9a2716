//! Pipes as futures: what `Async<Pipe>` and `Async<BytePipe>` need of them.

use ginnel_object::Message;
use ginnel_object::aio::{BytePair, Inlet, Outlet};
use ginnel_object::error::{SendError, TryRecvError};
use ginnel_object::simplex::Letter;

use crate::{BytePipe, ByteReceiver, ByteSender, Pipe};

impl<S: Message, R: Message> Inlet for Pipe<S, R> {
    type Item = R;

    fn try_recv(&mut self) -> Result<R, TryRecvError> {
        self.rx.try_recv()
    }
}

impl<S: Message, R: Message> Outlet for Pipe<S, R> {
    type Item = S;
    type Letter = Letter;

    fn advance(&mut self, value: &mut Option<S>, letter: &mut Letter) -> Option<Result<(), SendError<S>>> {
        self.tx.advance(value, letter)
    }
}

impl Inlet for BytePipe {
    type Item = Vec<u8>;

    fn try_recv(&mut self) -> Result<Vec<u8>, TryRecvError> {
        self.rx.try_recv()
    }
}

impl Outlet for BytePipe {
    type Item = Vec<u8>;
    type Letter = Letter;

    fn advance(
        &mut self,
        value: &mut Option<Vec<u8>>,
        letter: &mut Letter,
    ) -> Option<Result<(), SendError<Vec<u8>>>> {
        self.tx.advance(value, letter)
    }
}

impl BytePair for BytePipe {
    fn halves(self) -> (ByteSender, ByteReceiver) {
        self.split()
    }
}
