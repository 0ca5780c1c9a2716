//! How a type of a crate above is an object: it wraps a raw store, and says of which types its keys and values are.

use std::sync::Arc;

use serde::{Deserializer, Serializer};

use crate::arena::{Arena, Kind, ObjectRef};
use crate::carry;
use crate::error::Result;
use crate::handle::Handle;
use crate::manager::{Object, sealed};

use super::Base;
use super::dict::RawDict;
use super::list::RawList;
use super::options::{self, StoreKind, StoreOptions};

/// A raw store.
pub trait Raw: bound::Bound {}

pub(crate) mod bound {
    use super::super::Base;

    pub trait Bound: Sized {
        #[doc(hidden)]
        fn of(base: Base) -> Self;
        #[doc(hidden)]
        fn base(&self) -> &Base;
    }
}

impl Raw for RawDict {}
impl Raw for RawList {}

/// A typed handle of a store. Whoever implements it has an [`Object`].
pub trait Wraps: Sized {
    /// What it wraps.
    type Raw: Raw;
    /// What is needed to make one.
    type Options: Default;
    /// What it is.
    const KIND: StoreKind;

    /// The types of its keys and of its values, as all programs call them. A list has no keys: the first is empty.
    fn names() -> (String, String);

    /// How the store is to be made.
    ///
    /// # Errors
    /// `Invalid` for options that nothing can have.
    fn store(options: Self::Options) -> Result<StoreOptions>;

    /// Wraps what was made or found.
    fn wrap(raw: Self::Raw) -> Self;

    /// What it wraps.
    fn raw(&self) -> &Self::Raw;
}

#[diagnostic::do_not_recommend]
impl<T: Wraps> sealed::Sealed for T {
    type Options = T::Options;

    fn kind() -> Kind {
        T::KIND.kind()
    }

    fn make(arena: &Arc<Arena>, name: Option<&str>, options: Self::Options) -> Result<ObjectRef> {
        let (key, value) = T::names();
        options::make(arena, name, T::KIND, (&key, &value), &T::store(options)?)
    }

    fn open(object: ObjectRef) -> Result<Self> {
        let (key, value) = T::names();
        let base = Base::open(object)?;
        let handle: &Handle<_> = base.handle();
        options::expect_names(handle, (&key, &value))?;
        Ok(T::wrap(bound::Bound::of(base)))
    }

    fn object(&self) -> &ObjectRef {
        bound::Bound::base(self.raw()).object()
    }
}

/// Serializes a handle: inside a message or a value of the same manager; anywhere else an error.
///
/// # Errors
/// Those of the serializer.
pub fn serialize<T: Object, S: Serializer>(
    handle: &T,
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    carry::serialize(handle.object(), serializer)
}

/// Makes a handle of what [`serialize`] wrote.
///
/// # Errors
/// Those of the deserializer; a handle of another type.
pub fn deserialize<'de, T: Object, D: Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<T, D::Error> {
    carry::deserialize(deserializer)
}
