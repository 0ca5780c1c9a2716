//! Tasks: what can be run in another process, and how its arguments cross.
//!
//! A task is a type without size: a function item, or a closure that captures nothing. So nothing of it travels but
//! the place of a function, made for that type, in the image that both processes run. Each argument crosses as a message
//! that knows where it ends (`Message::put`, `Message::take`), so that `Raw` and `Json` work as arguments too.
//!
//! Invariants
//! - I1 whoever calls a function that conjures an `F` was told so by a process that had a value of `F`.

#![allow(unsafe_code, reason = "takes a value of a type without size out of nothing, as its starter had one")]

use std::ptr::NonNull;

use ginnel_object::bridge::{self, Record, St};
use ginnel_object::message::out::Out;
use ginnel_object::{Error, ErrorKind, Manager, Message, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::Panic;
use crate::panic;

/// Exit codes of a child whose function did not return.
pub(crate) mod code {
    /// It panicked: that of Rust programs.
    pub(crate) const PANICKED: i32 = 101;
    /// Its arguments could not be decoded, or its result not encoded, or its start failed.
    pub(crate) const FAILED: i32 = 70;
}

/// What may be given where a task takes a `P`: a `P`; a `&P` where `P: Clone`, which gives the child one of its own;
/// `&str` for `String`; `&[T]` for `Vec<T>`.
#[diagnostic::on_unimplemented(
    message = "a task that takes `{P}` cannot be given `{Self}`",
    note = "pass the value, or a reference to it if it is `Clone`"
)]
pub trait Arg<P> {
    #[doc(hidden)]
    fn write(&self, out: &mut Out<'_>) -> Result<()>;
}

impl<P: Message> Arg<P> for P {
    fn write(&self, out: &mut Out<'_>) -> Result<()> {
        self.put(out)
    }
}

impl<P: Message + Clone> Arg<P> for &P {
    fn write(&self, out: &mut Out<'_>) -> Result<()> {
        P::put(self, out)
    }
}

impl Arg<String> for &str {
    fn write(&self, out: &mut Out<'_>) -> Result<()> {
        encode(*self, out)
    }
}

impl<T: Serialize + DeserializeOwned + Send + 'static> Arg<Vec<T>> for &[T] {
    fn write(&self, out: &mut Out<'_>) -> Result<()> {
        encode(*self, out)
    }
}

/// As the owned type would be written.
fn encode<T: Serialize + ?Sized>(value: &T, out: &mut Out<'_>) -> Result<()> {
    postcard::serialize_with_flavor(value, out)
        .map_err(|why| Error::new(ErrorKind::Encode, format!("an argument cannot be encoded: {why}")))
}

/// The value in these bytes, all of them.
///
/// # Errors
/// `Decode`.
pub(crate) fn whole<P: Message>(mut bytes: &[u8]) -> Result<P> {
    let value = P::take(&mut bytes)?;
    if bytes.is_empty() {
        return Ok(value);
    }
    Err(Error::new(ErrorKind::Decode, format!("{} bytes are left over behind a result", bytes.len())))
}

/// A function that can run in another process: a function item, or a closure that captures nothing.
///
/// `Args` is what the caller gives: nothing as `()`, one argument bare, several as a tuple of at most six. `Signature`
/// is inferred.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be run in another process with the arguments `{Args}`",
    note = "tasks are functions or non-capturing closures; one argument is passed bare, several as a tuple, none as ()",
    note = "every argument and the result must be a `Message`"
)]
pub trait Task<Args, Signature>: Copy + Send + 'static {
    /// What it returns.
    type Output: Message;
    #[doc(hidden)]
    type Parameters;
    #[doc(hidden)]
    fn write(args: &Args, out: &mut Out<'_>) -> Result<()>;
    #[doc(hidden)]
    fn read(bytes: &mut &[u8]) -> Result<Self::Parameters>;
    #[doc(hidden)]
    fn call(self, parameters: Self::Parameters) -> Self::Output;
}

impl<F, R> Task<(), fn() -> R> for F
where
    F: Fn() -> R + Copy + Send + 'static,
    R: Message,
{
    type Output = R;
    type Parameters = ();

    fn write((): &(), _: &mut Out<'_>) -> Result<()> {
        Ok(())
    }

    fn read(_: &mut &[u8]) -> Result<()> {
        Ok(())
    }

    fn call(self, (): ()) -> R {
        self()
    }
}

impl<F, A, P, R> Task<A, fn(P) -> R> for F
where
    F: Fn(P) -> R + Copy + Send + 'static,
    A: Arg<P>,
    P: Message,
    R: Message,
{
    type Output = R;
    type Parameters = P;

    fn write(args: &A, out: &mut Out<'_>) -> Result<()> {
        args.write(out)
    }

    fn read(bytes: &mut &[u8]) -> Result<P> {
        P::take(bytes)
    }

    fn call(self, parameter: P) -> R {
        self(parameter)
    }
}

macro_rules! tasks_of {
    ($($arg:ident $parameter:ident $value:ident),+) => {
        impl<F, $($arg, $parameter,)+ R> Task<($($arg,)+), fn($($parameter),+) -> R> for F
        where
            F: Fn($($parameter),+) -> R + Copy + Send + 'static,
            $($arg: Arg<$parameter>, $parameter: Message,)+
            R: Message,
        {
            type Output = R;
            type Parameters = ($($parameter,)+);

            fn write(($($value,)+): &($($arg,)+), out: &mut Out<'_>) -> Result<()> {
                $($value.write(out)?;)+
                Ok(())
            }

            fn read(bytes: &mut &[u8]) -> Result<Self::Parameters> {
                Ok(($($parameter::take(bytes)?,)+))
            }

            fn call(self, ($($value,)+): Self::Parameters) -> R {
                self($($value),+)
            }
        }
    };
}
tasks_of!(A1 P1 a, A2 P2 b);
tasks_of!(A1 P1 a, A2 P2 b, A3 P3 c);
tasks_of!(A1 P1 a, A2 P2 b, A3 P3 c, A4 P4 d);
tasks_of!(A1 P1 a, A2 P2 b, A3 P3 c, A4 P4 d, A5 P5 e);
tasks_of!(A1 P1 a, A2 P2 b, A3 P3 c, A4 P4 d, A5 P5 e, A6 P6 f);

/// Where a child begins its work; the code to exit with.
pub(crate) type Entry = fn(&'static Manager, &Record) -> i32;

/// The task itself. Nothing of it has crossed, because there is nothing of it.
#[inline(always)]
pub(crate) fn conjure<F: Task<A, S>, A, S>() -> F {
    const {
        assert!(size_of::<F>() == 0, "this closure captures variables: pass them as arguments, or use spawn!")
    };
    // SAFETY: I1; a type without size has nothing to read, and its value exists in the starter.
    unsafe { NonNull::<F>::dangling().read() }
}

/// Takes the arguments, runs the task, leaves the result.
pub(crate) fn entry<F: Task<A, S>, A, S>(manager: &'static Manager, record: &Record) -> i32 {
    let task: F = conjure();
    let parameters = match record.take_args(|mut bytes| F::read(&mut bytes)) {
        Ok(parameters) => parameters,
        Err(error) => return fail(manager, record, &error),
    };
    finish(manager, record, panic::catch(|| task.call(parameters)))
}

/// Leaves what came of the task.
pub(crate) fn finish<R: Message>(manager: &Manager, record: &Record, came: Result<R, Panic>) -> i32 {
    match came {
        Ok(value) => {
            let sealed = bridge::seal(manager, |out| value.put(out));
            match sealed.and_then(|sealed| record.put_result(St::Returned, sealed)) {
                Ok(()) => 0,
                Err(error) => fail(manager, record, &error),
            }
        }
        Err(panic) => {
            panic::leave(manager, record, &panic);
            code::PANICKED
        }
    }
}

/// Says why the task was not run, or its result not sent.
pub(crate) fn fail(manager: &Manager, record: &Record, error: &Error) -> i32 {
    let sealed = bridge::seal(manager, |out| error.put(out));
    // Without it the starter still has the exit code.
    let _ = sealed.and_then(|sealed| record.put_result(St::Undecodable, sealed));
    code::FAILED
}
