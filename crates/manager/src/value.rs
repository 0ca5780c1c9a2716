//! Values between their type and their bytes, and the names of types.

use std::any::type_name;

use ginnel_object::{Error, ErrorKind, Message, Result};

/// The value in these bytes, all of them. `place` says what it was stored in.
///
/// # Errors
/// `Decode`, with the type.
#[inline]
pub(crate) fn read<V: Message>(mut bytes: &[u8], place: &str) -> Result<V> {
    match V::take(&mut bytes) {
        Ok(value) if bytes.is_empty() => Ok(value),
        Ok(_) => Err(left_over::<V>(bytes.len(), place)),
        Err(why) => Err(advise(why, place)),
    }
}

#[cold]
fn left_over<V>(bytes: usize, place: &str) -> Error {
    let happened = format!("a value is no {}: {bytes} bytes are left over", type_name::<V>());
    advise(Error::new(ErrorKind::Decode, happened), place)
}

#[cold]
fn advise(why: Error, place: &str) -> Error {
    why.with_advice(format!("open the {place} with the type that its values were stored as"))
}

/// The name of a type without the paths in it: `Vec<String>`, not `alloc::vec::Vec<alloc::string::String>`. Two programs
/// with the same type agree on it, whatever modules it lies in.
pub(crate) fn short_name<T>() -> String {
    let mut short = String::new();
    let mut word = String::new();
    for char in type_name::<T>().chars() {
        match char {
            ':' => word.clear(),
            _ if char.is_alphanumeric() || char == '_' => word.push(char),
            _ => {
                short.push_str(&std::mem::take(&mut word));
                short.push(char);
            }
        }
    }
    short + &word
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use ginnel_object::{Json, Raw};

    use super::*;

    struct User;

    #[test]
    fn names_of_types_have_no_paths() {
        assert_eq!(short_name::<u64>(), "u64");
        assert_eq!(short_name::<User>(), "User");
        assert_eq!(short_name::<Raw<[f32; 4]>>(), "Raw<[f32; 4]>");
        assert_eq!(short_name::<(u8, Option<User>)>(), "(u8, Option<User>)");
        assert_eq!(short_name::<BTreeMap<String, Vec<&'static str>>>(), "BTreeMap<String, Vec<&str>>");
    }

    #[test]
    fn a_value_is_all_of_its_bytes() {
        fn round<V: Message>(value: &V) -> Vec<u8> {
            let mut bytes = Vec::new();
            value.put(&mut ginnel_object::message::out::Out::vec(&mut bytes)).expect("encodes");
            bytes
        }
        assert_eq!(read::<String>(&round(&"x".to_owned()), "dict").expect("a string"), "x");
        assert_eq!(read::<Raw<u32>>(&round(&Raw(7_u32)), "dict").expect("a number").0, 7);
        assert_eq!(read::<Json<u32>>(&round(&Json(7_u32)), "dict").expect("a number").0, 7);
        let error = read::<u8>(&[1, 2], "list").expect_err("too long");
        assert_eq!(error.kind(), ErrorKind::Decode);
        assert!(error.to_string().contains("u8") && error.to_string().contains("open the list"), "{error}");
    }
}
