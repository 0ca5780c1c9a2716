//! The ends as things to wait for.
//!
//! What is waited for is a record, or room for one. Of a long message a receiver has taken what came when it tries, so
//! it does not find the same part ready again.

use ginnel_layout::atomic::AtomicU32;
use ginnel_sync::park::Arm;
use ginnel_sync::select::Port;

use super::bytes::{ByteReceiver, ByteSender};
use super::intake::In;
use super::out::Out;
use super::{Receiver, Sender};
use crate::error::Result;
use crate::ready::{LINE, ROOM_LINE, Source, sealed};

/// A receiving end that may have a message in its own memory.
struct IntakePort<P> {
    has_gathered: bool,
    port: P,
}

impl<P: Port> Port for IntakePort<P> {
    fn word(&self) -> &AtomicU32 {
        self.port.word()
    }

    fn is_ready(&self) -> bool {
        self.has_gathered || self.port.is_ready()
    }

    fn arm(&self) -> Arm {
        self.port.arm()
    }

    fn pass(&self, slept: bool) {
        self.port.pass(slept);
    }

    fn probe(&self) {
        self.port.probe();
    }
}

impl In {
    fn source(&self) -> Result<Source<'_>> {
        let object = &self.attached().object;
        self.attached().tenure().usable()?;
        let end = self.consumer();
        let port = IntakePort { has_gathered: self.has_gathered(), port: end.port(object.arena().segment()) };
        Ok(Source::heard(port, end.bells(), object, LINE))
    }
}

impl Out {
    fn source(&self) -> Result<Source<'_>> {
        let object = &self.attached().object;
        self.attached().tenure().usable()?;
        let end = self.producer();
        Ok(Source::heard(end.port(object.arena().segment()), end.bells(), object, ROOM_LINE))
    }
}

impl<T> sealed::Ready for Receiver<T> {
    fn source(&self) -> Result<Source<'_>> {
        self.intake.source()
    }
}

impl<T> sealed::Room for Sender<T> {
    fn room(&self) -> Result<Source<'_>> {
        self.out.source()
    }
}

impl sealed::Ready for ByteReceiver {
    fn source(&self) -> Result<Source<'_>> {
        self.intake.source()
    }
}

impl sealed::Room for ByteSender {
    fn room(&self) -> Result<Source<'_>> {
        self.out.source()
    }
}
