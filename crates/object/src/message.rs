//! How a value crosses: its type says so.
//!
//! A serde type crosses as postcard, [`Raw<T>`] as its own bytes, [`Checked<T>`] too, [`Json<T>`] as JSON. The bytes are made in memory of
//! the thread and copied into the queue, and copied out before they are decoded: nothing is ever parsed where a peer
//! could still write.
//!
//! A pool goes without the private memory: its values are written straight to where they lie ([`Message::put`], to an
//! [`out::Out`]), one behind the other, and read where nobody writes any more ([`Message::take`]).

use std::any::type_name;
use std::cell::RefCell;

use postcard::ser_flavors::Flavor;
use serde::Serialize;
use serde::de::DeserializeOwned;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, TryFromBytes};

use crate::carry;
use crate::error::{Error, ErrorKind, Result};

#[doc(hidden)]
pub mod out;

use out::Out;

/// A type whose bytes may be shared as they are: no padding, no pointers, every bit pattern is a value.
///
/// Implemented for every type that derives zerocopy's four traits; nothing to implement by hand.
///
/// ```
/// use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};
///
/// #[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
/// #[repr(C)]
/// struct Order {
///     id: u64,
///     price: i64,
/// }
///
/// fn crosses<T: ginnel_object::Plain>() {}
/// crosses::<Order>();
/// crosses::<[f32; 16]>();
/// ```
#[diagnostic::on_unimplemented(
    message = "the bytes of `{Self}` cannot be shared as they are",
    note = "derive zerocopy's FromBytes, IntoBytes, Immutable and KnownLayout"
)]
pub trait Plain: FromBytes + IntoBytes + Immutable + KnownLayout + Send + Sync + 'static {}

impl<T: ?Sized + FromBytes + IntoBytes + Immutable + KnownLayout + Send + Sync + 'static> Plain for T {}

/// A value that can be sent: every serde type (as postcard), [`Raw<T>`] and [`Checked<T>`] (as their bytes), [`Json<T>`].
///
/// Nothing to implement by hand: derive serde's `Serialize` and `Deserialize`, or wrap a [`Plain`] type in [`Raw`].
///
/// ```
/// use ginnel_object::{Json, Message, Raw};
///
/// fn crosses<T: Message>() {}
/// crosses::<(u32, Option<String>, Vec<f64>)>();
/// crosses::<Raw<[f32; 16]>>();
/// crosses::<Json<std::collections::HashMap<String, u32>>>();
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot cross to another process",
    note = "derive serde's Serialize and Deserialize, or wrap a zerocopy type in `Raw`"
)]
pub trait Message: Send + Sized + 'static {
    /// Bytes of every value, where all have the same.
    #[doc(hidden)]
    const FIXED: Option<usize>;

    /// Gives the bytes of the value to `f`.
    #[doc(hidden)]
    fn with_bytes<R>(&self, f: impl FnOnce(&[u8]) -> R) -> Result<R>;

    /// The value in these bytes, all of them.
    #[doc(hidden)]
    fn from_bytes(bytes: &[u8]) -> Result<Self>;

    /// The value in `len` bytes, which `fill` copies to where it is told, once.
    #[doc(hidden)]
    fn received(len: usize, fill: impl FnOnce(&mut [u8]) -> Result<()>) -> Result<Self> {
        let mut short = [0; SHORT];
        if let Some(bytes) = short.get_mut(..len) {
            fill(bytes)?;
            return Self::from_bytes(bytes);
        }
        with_scratch(|mut scratch| {
            scratch.resize(len, 0);
            let value = fill(&mut scratch).and_then(|()| Self::from_bytes(&scratch));
            (value, scratch)
        })
    }

    /// Appends the value to `out`, so that [`Message::take`] finds its end by itself. What stands there after an error is
    /// undefined.
    #[doc(hidden)]
    fn put(&self, out: &mut Out<'_>) -> Result<()>;

    /// The value that [`Message::put`] wrote at the beginning of `bytes`, which then begin behind it. The bytes are the
    /// caller's, or nobody writes them any more.
    #[doc(hidden)]
    fn take(bytes: &mut &[u8]) -> Result<Self>;
}

/// Messages up to this many bytes are copied out to the stack.
const SHORT: usize = 128;

/// Crosses as its own bytes: nothing is encoded. `let Raw(order) = queue.recv()?;`
///
/// Stands outermost, not inside a serde struct.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Raw<T>(pub T);

/// Crosses as JSON: for types that postcard cannot carry, as those with `#[serde(flatten)]` or untagged enums.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Json<T>(pub T);

/// Crosses as its own bytes, of which not all are values: enums, `bool`, `char`, and structs of them. They are copied out
/// of shared memory, then checked, and only then are they a `T`.
///
/// ```
/// use ginnel_object::{Checked, Queue};
/// use zerocopy::{Immutable, IntoBytes, KnownLayout, TryFromBytes};
///
/// #[derive(TryFromBytes, IntoBytes, Immutable, KnownLayout, Debug, PartialEq)]
/// #[repr(u8)]
/// enum Light {
///     Red,
///     Green,
/// }
///
/// let lights = Queue::bounded(4)?;
/// lights.send(Checked(Light::Green))?;
/// let Checked(light) = lights.recv()?;
/// assert_eq!(light, Light::Green);
/// # Ok::<(), ginnel_object::Error>(())
/// ```
/// Bytes that are no value are the error `Decode`. Stands outermost, as [`Raw`] does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Checked<T>(pub T);

impl<T> Message for Checked<T>
where
    T: TryFromBytes + IntoBytes + KnownLayout + Immutable + Send + 'static,
{
    const FIXED: Option<usize> = Some(size_of::<T>());

    #[inline(always)]
    fn with_bytes<R>(&self, f: impl FnOnce(&[u8]) -> R) -> Result<R> {
        Ok(f(self.0.as_bytes()))
    }

    /// The bytes are private by now: [`Message::received`] has copied them.
    #[inline(always)]
    fn from_bytes(bytes: &[u8]) -> Result<Self> {
        if bytes.len() != size_of::<T>() {
            return Err(wrong_size::<T>(bytes.len()));
        }
        T::try_read_from_bytes(bytes).map(Self).map_err(|_| undecodable::<T>("these bytes are no value"))
    }

    #[inline(always)]
    fn put(&self, out: &mut Out<'_>) -> Result<()> {
        out.extend(self.0.as_bytes());
        Ok(())
    }

    #[inline(always)]
    fn take(bytes: &mut &[u8]) -> Result<Self> {
        Self::from_bytes(split_off::<T>(bytes, size_of::<T>())?)
    }
}

impl<T: Plain> Message for Raw<T> {
    const FIXED: Option<usize> = Some(size_of::<T>());

    #[inline(always)]
    fn with_bytes<R>(&self, f: impl FnOnce(&[u8]) -> R) -> Result<R> {
        Ok(f(self.0.as_bytes()))
    }

    #[inline(always)]
    fn from_bytes(bytes: &[u8]) -> Result<Self> {
        T::read_from_bytes(bytes).map(Self).map_err(|_| wrong_size::<T>(bytes.len()))
    }

    #[inline(always)]
    fn received(len: usize, fill: impl FnOnce(&mut [u8]) -> Result<()>) -> Result<Self> {
        if len != size_of::<T>() {
            fill(&mut vec![0; len])?;
            return Err(wrong_size::<T>(len));
        }
        let mut value = T::new_zeroed();
        fill(value.as_mut_bytes())?;
        Ok(Self(value))
    }

    #[inline(always)]
    fn put(&self, out: &mut Out<'_>) -> Result<()> {
        out.extend(self.0.as_bytes());
        Ok(())
    }

    #[inline(always)]
    fn take(bytes: &mut &[u8]) -> Result<Self> {
        Self::from_bytes(split_off::<T>(bytes, size_of::<T>())?)
    }
}

impl<T: Serialize + DeserializeOwned + Send + 'static> Message for Json<T> {
    const FIXED: Option<usize> = None;

    fn with_bytes<R>(&self, f: impl FnOnce(&[u8]) -> R) -> Result<R> {
        with_scratch(|mut scratch| {
            let encoded = serde_json::to_writer(&mut scratch, &self.0);
            (encoded.map_err(refused::<T>).map(|()| f(&scratch)), scratch)
        })
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self> {
        serde_json::from_slice(bytes).map(Self).map_err(undecodable::<T>)
    }

    fn put(&self, out: &mut Out<'_>) -> Result<()> {
        self.with_bytes(|text| {
            let len = u32::try_from(text.len()).map_err(|_| {
                Error::new(ErrorKind::TooLarge, format!("a value of {} has 4 GiB of JSON", type_name::<T>()))
            })?;
            out.extend(&len.to_ne_bytes());
            out.extend(text);
            Ok(())
        })?
    }

    fn take(bytes: &mut &[u8]) -> Result<Self> {
        let (len, rest) = bytes.split_first_chunk().ok_or_else(|| cut_short::<T>(bytes.len()))?;
        *bytes = rest;
        Self::from_bytes(split_off::<T>(bytes, u32::from_ne_bytes(*len) as usize)?)
    }
}

impl<T: Serialize + DeserializeOwned + Send + 'static> Message for T {
    const FIXED: Option<usize> = None;

    #[inline]
    fn with_bytes<R>(&self, f: impl FnOnce(&[u8]) -> R) -> Result<R> {
        with_scratch(|scratch| match postcard::serialize_with_flavor(self, Scratch(scratch)) {
            Ok(scratch) => (Ok(f(&scratch)), scratch),
            Err(why) => (Err(refused::<T>(why)), Vec::new()),
        })
    }

    #[inline]
    fn from_bytes(bytes: &[u8]) -> Result<Self> {
        match postcard::take_from_bytes(bytes) {
            Ok((value, [])) => Ok(value),
            Ok((_, rest)) => Err(undecodable::<T>(format!("{} bytes are left over", rest.len()))),
            Err(why) => Err(undecodable::<T>(why)),
        }
    }

    #[inline(always)]
    fn put(&self, out: &mut Out<'_>) -> Result<()> {
        postcard::serialize_with_flavor(self, out).map_err(refused::<T>)
    }

    #[inline(always)]
    fn take(bytes: &mut &[u8]) -> Result<Self> {
        let (value, rest) = postcard::take_from_bytes(bytes).map_err(undecodable::<T>)?;
        *bytes = rest;
        Ok(value)
    }
}

/// The first `len` bytes, which leave `bytes`.
#[inline(always)]
fn split_off<'a, T>(bytes: &mut &'a [u8], len: usize) -> Result<&'a [u8]> {
    bytes.split_off(..len).ok_or_else(|| cut_short::<T>(bytes.len()))
}

/// Largest buffer that a thread keeps for its next message.
const KEPT: usize = 1 << 20;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Lends the thread's buffer, empty. A value whose encoding encodes another message gets a fresh one.
#[inline]
pub(crate) fn with_scratch<R>(f: impl FnOnce(Vec<u8>) -> (R, Vec<u8>)) -> R {
    let mut scratch = SCRATCH
        .with(|kept| kept.try_borrow_mut().map(|mut kept| std::mem::take(&mut *kept)))
        .unwrap_or_default();
    scratch.clear();
    let (result, scratch) = f(scratch);
    if scratch.capacity() <= KEPT {
        SCRATCH.with(|kept| {
            if let Ok(mut kept) = kept.try_borrow_mut() {
                *kept = scratch;
            }
        });
    }
    result
}

/// postcard writes here.
struct Scratch(Vec<u8>);

impl Flavor for Scratch {
    type Output = Vec<u8>;

    #[inline(always)]
    fn try_extend(&mut self, data: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(data);
        Ok(())
    }

    #[inline(always)]
    fn try_push(&mut self, data: u8) -> postcard::Result<()> {
        self.0.push(data);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<Vec<u8>> {
        Ok(self.0)
    }
}

#[cold]
fn refused<T>(why: impl std::fmt::Display) -> Error {
    if let Some((kind, why)) = carry::refusal() {
        return Error::new(kind, format!("a value of {} cannot be encoded: {why}", type_name::<T>()));
    }
    Error::new(ErrorKind::Encode, format!("a value of {} cannot be encoded: {why}", type_name::<T>()))
}

#[cold]
fn undecodable<T>(why: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Decode, format!("a message is no value of {}: {why}", type_name::<T>()))
        .with_advice("open the queue with the type that its messages were sent as")
}

#[cold]
fn wrong_size<T>(found: usize) -> Error {
    undecodable::<T>(format!("it has {found} bytes instead of {}", size_of::<T>()))
}

#[cold]
fn cut_short<T>(found: usize) -> Error {
    undecodable::<T>(format!("it ends after {found} bytes"))
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Job {
        id: u64,
        path: Option<String>,
    }

    fn round<T: Message>(value: &T) -> Result<T> {
        let bytes = value.with_bytes(<[u8]>::to_vec)?;
        T::from_bytes(&bytes)
    }

    #[test]
    fn each_kind_survives_the_round_trip() {
        let job = Job { id: u64::MAX, path: Some("a/b".into()) };
        assert_eq!(round(&job).expect("postcard"), job);
        assert_eq!(round(&Raw([1_u32, 2, 3])).expect("plain"), Raw([1, 2, 3]));
        assert_eq!(round(&Json(job)).expect("json").0.id, u64::MAX);
    }

    #[test]
    fn a_message_inside_a_message_gets_a_buffer_of_its_own() {
        struct Outer;
        impl Serialize for Outer {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
                let inner = 7_u8.with_bytes(<[u8]>::to_vec).map_err(serde::ser::Error::custom)?;
                serializer.serialize_bytes(&inner)
            }
        }
        impl<'de> Deserialize<'de> for Outer {
            fn deserialize<D: serde::Deserializer<'de>>(_: D) -> std::result::Result<Self, D::Error> {
                Ok(Self)
            }
        }
        assert_eq!(Outer.with_bytes(<[u8]>::to_vec).expect("encodes"), [1, 7]);
    }

    #[test]
    fn checked_bytes_are_a_value_or_an_error() {
        assert_eq!(round(&Checked([true, false])).expect("two bools"), Checked([true, false]));
        assert_eq!(Checked::<bool>::from_bytes(&[2]).expect_err("no bool").kind(), ErrorKind::Decode);
        assert_eq!(Checked::<bool>::from_bytes(&[]).expect_err("too short").kind(), ErrorKind::Decode);
        assert_eq!(
            Checked::<char>::from_bytes(&[0, 0xd8, 0, 0]).expect_err("half").kind(),
            ErrorKind::Decode
        );
    }

    #[test]
    fn bytes_that_are_no_value_are_an_error_with_the_type() {
        let error = Job::from_bytes(&[1]).expect_err("too short");
        assert_eq!(error.kind(), ErrorKind::Decode);
        assert!(error.to_string().contains("Job"), "{error}");
        assert_eq!(u8::from_bytes(&[1, 2]).expect_err("too long").kind(), ErrorKind::Decode);
        assert_eq!(Raw::<u64>::from_bytes(&[1, 2]).expect_err("too short").kind(), ErrorKind::Decode);
    }
}
