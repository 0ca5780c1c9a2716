//! The program in memory: where it begins, what of it is code, and whether two processes run the same.
//!
//! An *image* is what the linker made of this crate and its users: an executable, or a shared library in a host that
//! knows nothing of us. A function travels as its distance from the start of its image, because the kernel maps every
//! process elsewhere. Both sides must have the same image: the [`fingerprint`] tells.
//!
//! Nothing here calls the loader: `dladdr` finds nothing in a static program, and the headers say it all.
//!
//! Invariants
//! - I1 the linker puts `__ehdr_start` at the first byte of the image that this code is in, and the loader maps the
//!   first page of an image readable for as long as the image is there; the file header and the program headers lie in
//!   it, at the places that the header names.
//! - I2 the ranges that a program header of the running image describes are mapped, and those of notes and of the
//!   dynamic section are not written once the program runs.
//! - I3 a number within an executable range of the image that a process with the same fingerprint took from a function
//!   is that function here. A number goes back to the type that it came from: entries by the record, the others by the
//!   fields of their names.
//! - I4 `getauxval` only reads what the kernel gave to the process.

#![allow(unsafe_code, reason = "reads the headers of the running program, and makes a function of a number")]

use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::{fs, mem, ptr};

use ginnel_object::{Error, ErrorKind, Result};
use nix::libc;

use crate::routine::Routine;
use crate::task::Entry;

/// The file header; `libc` has no alias for the width of the machine.
#[cfg(target_pointer_width = "64")]
type Header = libc::Elf64_Ehdr;
#[cfg(target_pointer_width = "64")]
type Segment = libc::Elf64_Phdr;

/// Keys of the dynamic section: where the constructors are, and how many bytes.
const INIT_ARRAY: u64 = 25;
const INIT_ARRAY_BYTES: u64 = 27;

/// The note that carries the build id.
const BUILD_ID: u32 = 3;

unsafe extern "C" {
    /// Made by the linker, in every image anew.
    static __ehdr_start: u8;
}

/// Where the image begins.
fn base() -> usize {
    (&raw const __ehdr_start).addr()
}

/// The program headers.
fn segments() -> &'static [Segment] {
    let header = (&raw const __ehdr_start).cast::<Header>();
    // SAFETY: I1.
    let header: Header = unsafe { header.read_unaligned() };
    let first = ptr::with_exposed_provenance::<Segment>(base() + header.e_phoff as usize);
    // SAFETY: I1.
    unsafe { std::slice::from_raw_parts(first, usize::from(header.e_phnum)) }
}

/// What has to be added to an address in the headers.
fn bias() -> usize {
    let first = segments().iter().find(|segment| segment.p_type == libc::PT_LOAD && segment.p_offset == 0);
    base().wrapping_sub(first.map_or(0, |segment| segment.p_vaddr as usize))
}

/// The bytes in memory that a program header describes.
fn bytes_of(segment: &Segment) -> &'static [u8] {
    let first = ptr::with_exposed_provenance::<u8>(bias().wrapping_add(segment.p_vaddr as usize));
    // SAFETY: I2.
    unsafe { std::slice::from_raw_parts(first, segment.p_filesz as usize) }
}

fn is_code(address: usize) -> bool {
    // Most functions lie where this one does; a pool asks for each task.
    static OWN: OnceLock<Option<Range<usize>>> = OnceLock::new();
    let own = OWN.get_or_init(|| code().find(|range| range.contains(&offset_within())));
    own.as_ref().is_some_and(|range| range.contains(&address)) || code().any(|range| range.contains(&address))
}

/// The ranges of addresses that hold code.
fn code() -> impl Iterator<Item = Range<usize>> {
    let code = |segment: &&Segment| segment.p_type == libc::PT_LOAD && segment.p_flags & libc::PF_X != 0;
    segments().iter().filter(code).map(|segment| {
        let first = bias().wrapping_add(segment.p_vaddr as usize);
        first..first.saturating_add(segment.p_memsz as usize)
    })
}

/// How far `entry` is from the start of the image.
///
/// # Errors
/// As [`offset_of_code`].
pub(crate) fn offset_of(entry: Entry) -> Result<u64> {
    offset_of_code(entry as *const ())
}

/// How far a function is from the start of the image.
///
/// # Errors
/// `Unsupported` when it lies in another image: its crate was loaded apart from this one.
pub(crate) fn offset_of_code(function: *const ()) -> Result<u64> {
    let address = function.addr();
    if !is_code(address) {
        return Err(Error::new(ErrorKind::Unsupported, "the function lies in another library than ginnel")
            .with_advice("link ginnel into the library that starts processes"));
    }
    Ok((address - base()) as u64)
}

/// The entry that is so far from the start. `None`: there is no code.
pub(crate) fn entry_at(offset: u64) -> Option<Entry> {
    let code = code_at(offset)?;
    // SAFETY: I3; a child compares fingerprints before it asks.
    Some(unsafe { mem::transmute::<*const (), Entry>(code) })
}

/// The routine for the slots of a pool that is so far from the start.
pub(crate) fn routine_at(offset: u64) -> Option<Routine> {
    let code = code_at(offset)?;
    // SAFETY: I3; a worker is a child, which has compared fingerprints.
    Some(unsafe { mem::transmute::<*const (), Routine>(code) })
}

/// The function for `Builder::pre_run` that is so far from the start.
pub(crate) fn pre_run_at(offset: u64) -> Option<fn() -> Result<()>> {
    let code = code_at(offset)?;
    // SAFETY: I3.
    Some(unsafe { mem::transmute::<*const (), fn() -> Result<()>>(code) })
}

/// The function for `preload` that is so far from the start.
pub(crate) fn preload_at(offset: u64) -> Option<fn()> {
    let code = code_at(offset)?;
    // SAFETY: I3.
    Some(unsafe { mem::transmute::<*const (), fn()>(code) })
}

fn code_at(offset: u64) -> Option<*const ()> {
    let address = base().checked_add(usize::try_from(offset).ok()?)?;
    is_code(address).then(|| ptr::with_exposed_provenance(address))
}

/// A number that two processes share when they run the same image: the linker's build id, or else the shape of the
/// image.
pub(crate) fn fingerprint() -> u64 {
    static FINGERPRINT: OnceLock<u64> = OnceLock::new();
    *FINGERPRINT.get_or_init(|| {
        let notes = segments().iter().filter(|segment| segment.p_type == libc::PT_NOTE);
        let id = notes.map(bytes_of).find_map(build_id);
        // Two links of one source may have equal ids, and differ in what this crate's own functions are.
        let mut hash = Fnv::new();
        hash.add(&((offset_within() - base()) as u64).to_le_bytes());
        match id {
            Some(id) => hash.add(id),
            None => segments().iter().for_each(|segment| {
                hash.add(&segment.p_vaddr.to_le_bytes());
                hash.add(&segment.p_filesz.to_le_bytes());
                hash.add(&segment.p_flags.to_le_bytes());
            }),
        }
        hash.0
    })
}

/// A place in the code that moves with what is linked before it.
fn offset_within() -> usize {
    (fingerprint as fn() -> u64 as *const ()).addr()
}

/// The build id among the notes of one program header.
fn build_id(mut notes: &[u8]) -> Option<&[u8]> {
    while let Some((head, rest)) = notes.split_first_chunk::<12>() {
        let word = |at: usize| {
            let mut bytes = [0; 4];
            bytes.copy_from_slice(&head[at..at + 4]);
            u32::from_ne_bytes(bytes)
        };
        let (name_len, len, kind) = (word(0) as usize, word(4) as usize, word(8));
        let (name, rest) = rest.split_at_checked(name_len)?;
        let rest = rest.get(name_len.next_multiple_of(4) - name_len..)?;
        let (id, rest) = rest.split_at_checked(len)?;
        if kind == BUILD_ID && name == b"GNU\0" {
            return Some(id);
        }
        notes = rest.get(len.next_multiple_of(4) - len..)?;
    }
    None
}

/// FNV-1a: enough to tell programs apart that nobody makes alike on purpose.
struct Fnv(u64);

impl Fnv {
    fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

/// Where the image's list of constructors lies: address and number. `None` in an image without a dynamic section: one
/// that is linked statically to a fixed address.
pub(crate) fn constructors() -> Option<(usize, usize)> {
    let dynamic = segments().iter().find(|segment| segment.p_type == libc::PT_DYNAMIC)?;
    let (mut first, mut bytes) = (None, 0);
    for pair in bytes_of(dynamic).chunks_exact(2 * size_of::<usize>()) {
        let (key, value) = pair.split_at(size_of::<usize>());
        let number = |bytes: &[u8]| bytes.try_into().map(usize::from_ne_bytes).unwrap_or(0);
        match number(key) as u64 {
            0 => break,
            INIT_ARRAY => first = Some(number(value)),
            INIT_ARRAY_BYTES => bytes = number(value),
            _ => {}
        }
    }
    Some((bias().wrapping_add(first?), bytes / size_of::<usize>()))
}

/// Is this image the program itself, and not a library in a host?
pub(crate) fn is_program() -> bool {
    // SAFETY: I4.
    let headers = unsafe { libc::getauxval(libc::AT_PHDR) };
    headers as usize == segments().as_ptr().addr()
}

/// The file of an image that is a library.
#[derive(Debug)]
pub(crate) struct Library {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Library {
    /// The library that this code is in.
    ///
    /// # Errors
    /// `Mismatch` when its file was removed or replaced since it was loaded: a child would load another program. `Os`.
    pub(crate) fn own() -> Result<&'static Path> {
        static OWN: OnceLock<Result<Library>> = OnceLock::new();
        let own = OWN.get_or_init(Self::find).as_ref().map_err(Clone::clone)?;
        let found = fs::metadata(&own.path).map_err(|why| replaced(&own.path, &why.to_string()))?;
        if (found.dev(), found.ino()) != (own.device, own.inode) {
            return Err(replaced(&own.path, "the file is another"));
        }
        Ok(&own.path)
    }

    /// The kernel's list of mappings knows the file behind an address, also when the working directory has changed.
    fn find() -> Result<Self> {
        let maps = fs::read_to_string("/proc/self/maps").map_err(|why| {
            Error::new(ErrorKind::Os, format!("the list of mappings cannot be read: {why}"))
        })?;
        let unknown = || Error::new(ErrorKind::Unsupported, "the file of the library cannot be found");
        let path = maps.lines().find_map(|line| path_of(line, base())).ok_or_else(unknown)?;
        let found = fs::metadata(path).map_err(|why| replaced(Path::new(path), &why.to_string()))?;
        Ok(Self { path: path.into(), device: found.dev(), inode: found.ino() })
    }
}

/// The path in a line of mappings, if `address` lies in its range.
fn path_of(line: &str, address: usize) -> Option<&str> {
    let (range, _) = line.split_once(' ')?;
    let (first, end) = range.split_once('-')?;
    let number = |text| usize::from_str_radix(text, 16).ok();
    let within = number(first)? <= address && address < number(end)?;
    within.then(|| line.find('/').map(|at| &line[at..]))?
}

fn replaced(path: &Path, why: &str) -> Error {
    let text = format!("the library {} was removed or replaced since it was loaded: {why}", path.display());
    Error::new(ErrorKind::Mismatch, text).with_advice("load the new one in a new process")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_found_again_by_its_offset_and_nothing_else_is() {
        let entry: Entry = |_, _| 7;
        let offset = offset_of(entry).expect("lies in this image");
        let found = entry_at(offset).expect("lies in this image");
        assert_eq!((found as *const ()).addr(), (entry as *const ()).addr());
        assert!(entry_at(0).is_none(), "the header is no code");
        assert!(entry_at(u64::MAX).is_none());
        assert!(entry_at(1 << 46).is_none());
    }

    #[test]
    fn this_is_a_program_with_constructors_and_a_fingerprint() {
        assert!(is_program());
        assert!(constructors().is_some_and(|(_, count)| count > 0));
        assert_eq!(fingerprint(), fingerprint());
    }

    #[test]
    fn the_build_id_is_found_behind_other_notes() {
        let mut notes = Vec::new();
        for (name, kind, text) in [(&b"GNU\0"[..], 5_u32, &b"abcdef"[..]), (b"GNU\0", 3, b"the id")] {
            for number in [name.len() as u32, text.len() as u32, kind] {
                notes.extend_from_slice(&number.to_ne_bytes());
            }
            notes.extend_from_slice(name);
            notes.extend_from_slice(text);
            notes.resize(notes.len().next_multiple_of(4), 0);
        }
        assert_eq!(build_id(&notes), Some(&b"the id"[..]));
        assert_eq!(build_id(&notes[..notes.len() - 4]), None);
        assert_eq!(build_id(&[0xff; 40]), None);
    }

    #[test]
    fn a_mapping_is_found_by_an_address_in_it() {
        let line = "7f00-7f10 r--p 00000000 08:01 42      /lib/with a space.so";
        assert_eq!(path_of(line, 0x7f08), Some("/lib/with a space.so"));
        assert_eq!(path_of(line, 0x7f10), None);
        assert_eq!(path_of("7f00-7f10 rw-p 00000000 00:00 0", 0x7f08), None);
    }
}
