//! The ends of a lane as things to wait for.

use super::{Consumer, Producer};
use crate::error::Result;
use crate::ready::{LINE, ROOM_LINE, Source, sealed};

impl<T: ?Sized> sealed::Ready for Consumer<T> {
    fn source(&self) -> Result<Source<'_>> {
        let object = &self.attached.object;
        self.attached.tenure().usable()?;
        Ok(Source::heard(self.end.port(object.arena().segment()), self.end.bells(), object, LINE))
    }
}

impl<T: ?Sized> sealed::Room for Producer<T> {
    fn room(&self) -> Result<Source<'_>> {
        let object = &self.attached.object;
        self.attached.tenure().usable()?;
        Ok(Source::heard(self.end.port(object.arena().segment()), self.end.bells(), object, ROOM_LINE))
    }
}
