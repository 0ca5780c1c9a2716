//! Keys: what may be one, and the bytes that stand for it.
//!
//! A key is looked for by its encoding (postcard), and only by that: what encodes alike is one key, in every process and
//! every build. `String` and `str` encode alike, so do `Vec<T>` and `[T]`, `Box<T>` and `T`. `[T; N]` and `[T]` do not,
//! though one can be borrowed as the other: a dict of arrays is asked for arrays.

use std::any::type_name;
use std::hash::Hash;

use ginnel_object::message::out::Out;
use ginnel_object::{Error, ErrorKind, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A type that can be a key: it has an equality that std's maps would accept, too, and encodes.
///
/// Floats, `HashMap` and `HashSet` are no keys, because equal ones may encode differently: the compiler refuses them.
/// Nothing to implement by hand.
///
/// ```
/// fn is_a_key<K: ginnel_manager::Key>() {}
/// is_a_key::<String>();
/// is_a_key::<(u32, Option<String>, [u8; 4])>();
/// ```
/// ```compile_fail,E0277
/// fn is_a_key<K: ginnel_manager::Key>() {}
/// is_a_key::<f64>();
/// ```
/// ```compile_fail,E0277
/// fn is_a_key<K: ginnel_manager::Key>() {}
/// is_a_key::<std::collections::HashSet<u32>>();
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a key of a dict",
    note = "a key derives Serialize, Deserialize, PartialEq, Eq and Hash; floats and unordered collections are none"
)]
pub trait Key: Serialize + DeserializeOwned + Eq + Hash + Send + 'static {}

impl<K: Serialize + DeserializeOwned + Eq + Hash + Send + 'static> Key for K {}

/// What a key may be looked up by: the key itself, or what it can be borrowed as, as `str` is for `String`.
///
/// Nothing to implement by hand.
#[diagnostic::on_unimplemented(
    message = "no key of a dict can be looked up by `{Self}`",
    note = "what is looked up encodes as the key does, and has its Eq and Hash"
)]
pub trait Lookup: Serialize + Eq + Hash {}

impl<Q: Serialize + Eq + Hash + ?Sized> Lookup for Q {}

/// Keys up to this many bytes are encoded on the stack.
const SHORT: usize = 64;

/// Gives the bytes of a key to `f`.
///
/// # Errors
/// `Encode` for a key that its serializer refuses, as one with a handle in it; those of `f`.
#[inline]
pub(crate) fn with_bytes<Q: Lookup + ?Sized, R>(key: &Q, f: impl FnOnce(&[u8]) -> Result<R>) -> Result<R> {
    let mut room = [0; SHORT];
    let mut out = Out::stack(&mut room);
    if let Err(why) = postcard::serialize_with_flavor(key, &mut out) {
        return Err(refused::<Q>(why));
    }
    if out.is_spilled() {
        return f(&out.spilled().unwrap_or_default());
    }
    let len = out.len();
    drop(out);
    f(&room[..len])
}

/// The key in these bytes, all of them.
pub(crate) fn read<K: Key>(bytes: &[u8]) -> Result<K> {
    let why = match postcard::take_from_bytes(bytes) {
        Ok((key, [])) => return Ok(key),
        Ok((_, rest)) => format!("{} bytes are left over", rest.len()),
        Err(why) => why.to_string(),
    };
    Err(undecodable::<K>(&why))
}

#[cold]
fn refused<Q: ?Sized>(why: postcard::Error) -> Error {
    Error::new(ErrorKind::Encode, format!("a key of {} cannot be encoded: {why}", type_name::<Q>()))
}

#[cold]
fn undecodable<K>(why: &str) -> Error {
    Error::new(ErrorKind::Decode, format!("a key is no value of {}: {why}", type_name::<K>()))
        .with_advice("open the dict with the types that it was made with")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes<Q: Lookup + ?Sized>(key: &Q) -> Vec<u8> {
        with_bytes(key, |bytes| Ok(bytes.to_vec())).expect("encodes")
    }

    #[test]
    fn what_can_be_borrowed_encodes_alike() {
        assert_eq!(bytes("passage"), bytes(&String::from("passage")));
        assert_eq!(bytes(&[1_u16, 2][..]), bytes(&vec![1_u16, 2]));
        assert_eq!(bytes(&Box::new(7_u32)), bytes(&7_u32));
        assert_ne!(bytes(&[1_u16, 2]), bytes(&[1_u16, 2][..]), "arrays have no length in front");
    }

    #[test]
    fn keys_of_every_length_come_back() {
        for len in [0, 1, 62, 63, 64, 65, 1000, 70_000] {
            let key = "k".repeat(len);
            assert_eq!(read::<String>(&bytes(&key)).expect("decodes"), key);
        }
    }

    #[test]
    fn bytes_that_are_no_key_say_which_type() {
        let error = read::<String>(&[9]).expect_err("too short");
        assert_eq!(error.kind(), ErrorKind::Decode);
        assert!(error.to_string().contains("String"), "{error}");
        assert_eq!(read::<u8>(&[1, 2]).expect_err("too long").kind(), ErrorKind::Decode);
    }
}
