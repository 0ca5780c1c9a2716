//! What both sides of a connection are asked: the key, the types, the sizes, and whom to talk to.

use std::sync::Arc;

use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};

use ginnel_layout::line::PAGE;
use ginnel_object::{Error, ErrorKind, Message, Result};

use crate::credentials::{Credentials, own_uid};
use crate::handshake::{Fingerprint, Key, NONCE, Terms};
use crate::socket;

/// Bytes of a ring where nobody asks for another size.
const RING: usize = 256 << 10;

/// The largest ring: what one peer can make this process map, and pages of it take.
const RING_MAX: usize = 64 << 20;

/// The longest message where nobody asks for another.
const MESSAGE_MAX: usize = 16 << 20;

/// The part of the options that is the same on both sides.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// Some, but without bytes: refused when it is used.
    pub(crate) key: Option<Arc<[u8]>>,
    pub(crate) protocol: Option<String>,
    pub(crate) max_message: usize,
    pub(crate) ring: usize,
    /// None: the default of that side.
    pub(crate) users: Option<Vec<u32>>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { key: None, protocol: None, max_message: MESSAGE_MAX, ring: RING, users: None }
    }
}

impl Settings {
    pub(crate) fn allow(&mut self, uid: u32) {
        self.users.get_or_insert_default().push(uid);
    }

    /// What goes into the handshake.
    ///
    /// # Errors
    /// `Invalid` for an empty key, no ring, or messages of no bytes; `TooLarge` for a ring above 64 MiB.
    pub(crate) fn terms(&self) -> Result<Terms> {
        let invalid = |says: &str| Error::new(ErrorKind::Invalid, says);
        let key = match &self.key {
            Some(bytes) => {
                Some(Key::new(bytes).ok_or_else(|| invalid("a key without bytes protects nothing"))?)
            }
            None => None,
        };
        if self.ring == 0 {
            return Err(invalid("a ring of no bytes carries nothing"));
        }
        if self.max_message == 0 {
            return Err(invalid("messages of no bytes say nothing"));
        }
        if self.ring > RING_MAX {
            let says = format!("a ring of {} bytes; a peer maps {RING_MAX} at most", self.ring);
            let advice = "messages may be longer than the ring, they go in parts";
            return Err(Error::new(ErrorKind::TooLarge, says).with_advice(advice));
        }
        Ok(Terms {
            key,
            ring: self.ring.next_multiple_of(PAGE) as u64,
            longest: self.max_message as u64,
            ring_max: RING_MAX as u64,
        })
    }

    /// What crosses: the client sends `C`, the listener `L`.
    pub(crate) fn fingerprint<C: Message, L: Message>(&self) -> Fingerprint {
        Fingerprint::of::<C, L>(self.protocol.as_deref())
    }

    /// May this one be talked to? `or_root`: also root, where nobody was named.
    pub(crate) fn allows(&self, who: &Credentials, or_root: bool) -> bool {
        match &self.users {
            Some(users) => users.contains(&who.uid),
            None => who.uid == own_uid() || (or_root && who.uid == 0),
        }
    }

    /// Are others than our own user allowed?
    pub(crate) fn allows_others(&self) -> bool {
        self.users.as_ref().is_some_and(|users| users.iter().any(|uid| *uid != own_uid()))
    }
}

/// Thirty-two bytes that nobody can guess.
///
/// # Errors
/// `Os`, where the kernel has no randomness to give.
pub(crate) fn nonce() -> Result<[u8; NONCE]> {
    let mut bytes = [0; NONCE];
    let mut filled = 0;
    while filled < NONCE {
        match getrandom(&mut bytes[filled..], GetRandomFlags::empty()) {
            Ok(count) => filled += count,
            Err(Errno::INTR) => {}
            Err(why) => return Err(socket::refused("get random bytes", &why.into())),
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_whole_pages_and_bounded() {
        let with = |ring| Settings { ring, ..Settings::default() }.terms();
        assert_eq!(with(1).expect("small").ring, PAGE as u64);
        assert_eq!(with(PAGE + 1).expect("rounded").ring, 2 * PAGE as u64);
        assert_eq!(with(0).expect_err("none").kind(), ErrorKind::Invalid);
        assert_eq!(with(RING_MAX + 1).expect_err("large").kind(), ErrorKind::TooLarge);
        assert_eq!(with(usize::MAX).expect_err("large").kind(), ErrorKind::TooLarge);
        let settings = Settings { key: Some(Arc::default()), ..Settings::default() };
        assert_eq!(settings.terms().expect_err("empty").kind(), ErrorKind::Invalid);
    }

    #[test]
    fn only_those_who_are_named_are_allowed() {
        let mut settings = Settings::default();
        let who = |uid| Credentials::for_tests(uid);
        let (us, root) = (own_uid(), 0);
        assert!(settings.allows(&who(us), false));
        assert!(!settings.allows(&who(us + 1), false));
        assert!(settings.allows(&who(root), true));
        settings.allow(us + 1);
        assert!(!settings.allows(&who(us), true) && settings.allows(&who(us + 1), false));
        assert!(settings.allows_others());
    }

    #[test]
    fn two_nonces_differ() {
        assert_ne!(nonce().expect("random"), nonce().expect("random"));
    }
}
