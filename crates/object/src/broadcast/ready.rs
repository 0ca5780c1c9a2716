//! A receiver as something to wait for.

use ginnel_layout::atomic::AtomicU32;
use ginnel_queue::broadcast::ReaderPort;
use ginnel_sync::park::Arm;
use ginnel_sync::select::Port;

use super::{Channel, Receiver};
use crate::error::Result;
use crate::ready::{Hearing, LINE, Source, sealed};

/// A reader, which asks for the senders now and then.
struct ChannelPort<'a> {
    reader: ReaderPort<'a>,
    channel: &'a Channel,
}

impl Port for ChannelPort<'_> {
    fn word(&self) -> &AtomicU32 {
        self.reader.word()
    }

    fn is_ready(&self) -> bool {
        self.reader.is_ready()
    }

    fn arm(&self) -> Arm {
        self.reader.arm()
    }

    fn pass(&self, slept: bool) {
        self.reader.pass(slept);
    }

    fn probe(&self) {
        self.reader.probe();
        self.channel.ask(None);
    }
}

impl<T> sealed::Ready for Receiver<T> {
    fn source(&self) -> Result<Source<'_>> {
        let object = &self.channel.object;
        object.check_fork_fast()?;
        let port = ChannelPort { reader: self.reader.port(object.arena().segment()), channel: &self.channel };
        Ok(match self.reader.bells() {
            Some(bells) => Source::heard(port, bells, object, LINE),
            None => Source { port: Box::new(port), hearing: Hearing::Deaf },
        })
    }
}
