//! The receiving end as something to wait for.

use super::Receiver;
use crate::error::Result;
use crate::ready::{LINE, Source, sealed};

impl<T> sealed::Ready for Receiver<T> {
    fn source(&self) -> Result<Source<'_>> {
        let object = &self.channel.object;
        self.tenure.usable()?;
        Ok(Source::heard(self.end.port(object.arena().segment()), self.end.bells(), object, LINE))
    }
}
