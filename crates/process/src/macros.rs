//! `spawn!`: captures become arguments.
//!
//! The names between the bars are evaluated where the macro stands, cross as arguments, and are bound again in the
//! child. So the closure that crosses captures nothing, and its parameters need no types.

use std::marker::PhantomData;

use ginnel_object::message::out::Out;
use ginnel_object::{Message, Result};

use crate::child::Process;
use crate::task::{Arg, Task};

/// Runs a closure in a child: `spawn!(|&queue, n| ..)` gives it a handle of its own of `queue`, and moves `n`.
///
/// ```
/// let (base, names) = (40, vec!["a".to_owned(), "b".to_owned()]);
/// let child = ginnel_process::spawn!(|base, &names| base + names.len())?;
/// assert_eq!((child.join()?, names.len()), (42, 2));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// What it uses and does not name is a capture, which the compiler refuses:
///
/// ```compile_fail
/// let base = String::from("40");
/// let child = ginnel_process::spawn!(|| base.len())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[macro_export]
macro_rules! spawn {
    (|| $body:expr) => { $crate::Process::spawn(|| $body, ()) };
    (| $( $(&$lent:ident)? $($given:ident)? ),+ $(,)? | $body:expr) => {
        $crate::macros::spawn(
            ($( $($crate::macros::Lent(&$lent))? $($crate::macros::Given($given))? ,)+),
            |($( $($lent)? $($given)? ,)+)| $body,
        )
    };
}

/// What [`spawn!`](crate::spawn) expands to.
///
/// # Errors
/// See [`Process::spawn`].
pub fn spawn<C, R, F>(captures: C, f: F) -> Result<Process<R>>
where
    C: Captured,
    R: Message,
    F: Fn(C::Owned) -> R + Copy + Send + 'static,
{
    Process::spawn(f, Captures(captures))
}

/// A value that is moved.
#[derive(Debug)]
pub struct Given<T>(pub T);

/// A value of which the child gets one of its own.
#[derive(Debug)]
pub struct Lent<'a, T>(pub &'a T);

/// Several of them, as the arguments of a closure that takes a tuple.
#[derive(Debug)]
pub struct Captures<C>(C);

/// Tells the signature of such a closure from that of a function.
#[derive(Debug)]
pub struct Signature<R>(PhantomData<fn() -> R>);

/// What crosses, and as what it arrives.
pub trait Captured {
    /// What the child has.
    type Owned;
    #[doc(hidden)]
    fn write(&self, out: &mut Out<'_>) -> Result<()>;
    #[doc(hidden)]
    fn read(bytes: &mut &[u8]) -> Result<Self::Owned>;
}

impl<T: Message> Captured for Given<T> {
    type Owned = T;

    fn write(&self, out: &mut Out<'_>) -> Result<()> {
        Arg::<T>::write(&self.0, out)
    }

    fn read(bytes: &mut &[u8]) -> Result<T> {
        T::take(bytes)
    }
}

impl<T: Message + Clone> Captured for Lent<'_, T> {
    type Owned = T;

    fn write(&self, out: &mut Out<'_>) -> Result<()> {
        Arg::<T>::write(self.0, out)
    }

    fn read(bytes: &mut &[u8]) -> Result<T> {
        T::take(bytes)
    }
}

macro_rules! captured {
    ($($capture:ident $value:ident),+) => {
        impl<$($capture: Captured),+> Captured for ($($capture,)+) {
            type Owned = ($($capture::Owned,)+);

            fn write(&self, out: &mut Out<'_>) -> Result<()> {
                let ($($value,)+) = self;
                $($value.write(out)?;)+
                Ok(())
            }

            fn read(bytes: &mut &[u8]) -> Result<Self::Owned> {
                Ok(($($capture::read(bytes)?,)+))
            }
        }
    };
}
captured!(A a);
captured!(A a, B b);
captured!(A a, B b, C c);
captured!(A a, B b, C c, D d);
captured!(A a, B b, C c, D d, E e);
captured!(A a, B b, C c, D d, E e, F f);

impl<F, C, R> Task<Captures<C>, Signature<R>> for F
where
    F: Fn(C::Owned) -> R + Copy + Send + 'static,
    C: Captured,
    R: Message,
{
    type Output = R;
    type Parameters = C::Owned;

    fn write(args: &Captures<C>, out: &mut Out<'_>) -> Result<()> {
        args.0.write(out)
    }

    fn read(bytes: &mut &[u8]) -> Result<C::Owned> {
        C::read(bytes)
    }

    fn call(self, parameters: C::Owned) -> R {
        self(parameters)
    }
}
