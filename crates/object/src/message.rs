//! How a value crosses: its type says so.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

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
